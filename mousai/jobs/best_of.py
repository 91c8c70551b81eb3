"""Several takes of a prompt, compared in a joint space: the one nearest to its text, or for each of some vectors the one nearest to that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mousai.checks import check_number
from mousai.conditioners.joint import STARTER, Joint, JointConfig, resampled
from mousai.request.clip import MAX_BATCH, SEEDS, Request


def takes_of(request: Request, takes: int) -> Request:
    """The request for so many takes of each prompt, one after the other; take j of prompt i has the seed of clip i x takes + j."""
    check_number("best_of", takes, 2, MAX_BATCH, whole=True)
    if request.vectors is not None:
        raise ValueError("best_of: takes are of texts, not of vectors")
    return replace(request, prompts=tuple(prompt for prompt in request.prompts for _ in range(takes)))


class Judge:
    """Says which take is nearest to its text."""

    def __init__(self, takes: int, joint: str | Path | None = None) -> None:
        self.takes, self.joint = takes, Joint(JointConfig(STARTER if joint is None else str(joint)))

    def best(self, prompt: str, takes: Sequence[Tensor], sample_rate: int, first_seed: int) -> tuple[int, dict[str, Any]]:
        """The place of the best of takes `(c, s)`, and what its recipe says of all of them."""
        text = self.joint.texts([prompt])[0]
        scores = [float(self.joint.audio(resampled(audio[None], sample_rate, self.joint.sample_rate))[0] @ text) for audio in takes]
        best = max(range(len(scores)), key=scores.__getitem__)
        ranked = {str((first_seed + index) % SEEDS): round(score, 4) for index, score in enumerate(scores)}
        return best, {"best_of": {"takes": len(takes), "space": self.joint.space, "scores": ranked}}


def shared_out(vectors: Tensor, wanted: Tensor) -> list[int]:
    """For each of some `wanted` unit vectors `(m, e)` one of the takes' `(n, e)`, none for two, so that the sum of cosines is the largest; ValueError for fewer takes."""
    from scipy.optimize import linear_sum_assignment

    if len(vectors) < len(wanted):
        raise ValueError(f"takes: {len(vectors)} are too few for {len(wanted)} vectors; expected as many at least")
    _, places = linear_sum_assignment((wanted @ vectors.T).numpy(), maximize=True)
    return places.tolist()
