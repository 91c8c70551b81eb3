"""How vectors that a flow draws for texts compare with real ones of recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mousai.evaluation.retrieval import retrieval

SPECIFIC, VAGUE, REAL = "a clip's whole text", "a class's name", "real clips"


def spread(vectors: Tensor) -> float:
    """The mean distance, 1 - cosine, between two different of n unit vectors `(n, e)`."""
    n = len(vectors)
    return float(1 - (vectors.sum(0).square().sum() - n) / (n * (n - 1))) if n > 1 else 0.0


def directions(classes: Sequence[str], vectors: Tensor) -> dict[str, Tensor]:
    """The direction `(e,)` of each class's mean."""
    return {name: F.normalize(vectors[rows(classes, name)].mean(0), dim=0) for name in sorted(set(classes))}


def rows(classes: Sequence[str], name: str) -> list[int]:
    return [row for row, found in enumerate(classes) if found == name]


def of_texts(drawn: Tensor, real: Tensor, classes: Sequence[str], means: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of vectors `(n, takes, e)` drawn for the texts of n clips whose own are `real (n, e)`: how near they come, and how far apart they are.

    Retrieval asks with the mean of a text's vectors, and with one of them.
    """
    own = torch.eye(len(real), dtype=torch.bool)
    centres = torch.stack([means[name] for name in classes])
    return {
        "cosine_true": float((drawn * real[:, None]).sum(-1).mean()),
        "cosine_class": float((drawn * centres[:, None]).sum(-1).mean()),
        "spread": sum(map(spread, drawn)) / len(drawn),
        "retrieval": retrieval(drawn[:, 0] @ real.T, own),
        "retrieval_mean": retrieval(F.normalize(drawn.mean(1), dim=-1) @ real.T, own),
    }


def of_classes(drawn: Mapping[str, Tensor], real: Tensor, classes: Sequence[str], means: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of vectors `(takes, e)` drawn for the name of each class: how near the class's mean, and how far apart beside its real ones."""
    spreads = {name: spread(vectors) for name, vectors in drawn.items()}
    return {"cosine_class": float(torch.stack([(vectors @ means[name]).mean() for name, vectors in drawn.items()]).mean()), "spread": sum(spreads.values()) / len(spreads)}


def of_real(real: Tensor, classes: Sequence[str], means: Mapping[str, Tensor]) -> dict[str, Any]:
    """The same of real clips: how near the mean of their class they are, and how far apart within it."""
    centres = torch.stack([means[name] for name in classes])
    return {"cosine_class": float((real * centres).sum(-1).mean()), "spread": sum(spread(real[rows(classes, name)]) for name in means) / len(means)}
