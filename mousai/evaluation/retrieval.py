"""Retrieval in a joint space: at which place, among all, what belongs together comes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PLACES = (1, 10)  # of recall


def places(similarity: Tensor, own: Tensor) -> Tensor:
    """The place `(n,)`, 1 = first, of the best own candidate for each of n questions.

    `similarity (n, m)`, and `own (n, m)` boolean, at least one a row. Of candidates that are as near, half count as nearer.
    """
    best = similarity.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
    others = similarity.masked_fill(own, -torch.inf)
    return 1 + (others > best).sum(1) + 0.5 * (others == best).sum(1)


def retrieval(similarity: Tensor, own: Tensor) -> dict[str, Any]:
    """Recall, median and mean place of n questions among m candidates, each beside what chance gives."""
    found, candidates = places(similarity, own).double(), similarity.shape[1]
    by_chance = torch.tensor([expected_places(candidates, int(count)) for count in own.sum(1)], dtype=torch.float64)
    report: dict[str, Any] = {"questions": len(found), "candidates": candidates}
    for place in PLACES:
        report[f"recall_{place}"] = float((found <= place).double().mean())
        report[f"recall_{place}_chance"] = sum(chance_within(candidates, int(count), place) for count in own.sum(1)) / len(own)
    return report | {"median_place": float(found.quantile(0.5)), "mean_place": float(found.mean()), "mean_place_chance": float(by_chance.mean())}


def expected_places(candidates: int, own: int) -> float:
    """The expected place of the first of `own` among `candidates` in random order."""
    return (candidates + 1) / (own + 1)


def chance_within(candidates: int, own: int, place: int) -> float:
    """How likely one of `own` is among the first `place` of `candidates` in random order."""
    missed = 1.0
    for index in range(min(place, candidates)):
        missed *= max(0, candidates - own - index) / (candidates - index)
    return 1 - missed


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A Markdown table of reports of `retrieval`, chance in brackets."""
    lines = ["| | questions | candidates | recall@1 | recall@10 | median place | mean place |", "|---|---|---|---|---|---|---|"]
    for name, row in rows.items():
        recalls = [f"{100 * row[f'recall_{place}']:.1f} % ({100 * row[f'recall_{place}_chance']:.1f} %)" for place in PLACES]
        means = f"{row['median_place']:g} | {row['mean_place']:.1f} ({row['mean_place_chance']:.1f})"
        lines.append(f"| {name} | {row['questions']} | {row['candidates']} | {' | '.join(recalls)} | {means} |")
    return "\n".join(lines)
