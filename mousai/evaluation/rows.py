"""Sets of clips side by side, a row of the table each: what was made, the set that was learned from, its round trip, recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mousai.evaluation.features import SAMPLE_RATE, decibels, mel_power, statistics
from mousai.evaluation.genre import GenreClassifier
from mousai.evaluation.heard import by_label, hear, summary, table
from mousai.evaluation.nearest import TrainingSet, nearest, outline
from mousai.evaluation.phases import Phase, silent
from mousai.evaluation.prompts import Known
from mousai.evaluation.shares import in_percent
from mousai.evaluation.two_sample import two_sample


@dataclass(frozen=True)
class Row:
    """What was heard of each clip of a set, what its style was taken for, its pooled statistics `(clips, 640)` and outlines `(20, l)`."""

    labels: tuple[str | None, ...]
    named: tuple[str, ...]
    heard: tuple[dict[str, Any], ...]
    statistics: Tensor
    outlines: tuple[Tensor, ...]

    @property
    def right(self) -> int:
        """Clips whose style the judge names."""
        return sum(name == label for name, label in zip(self.named, self.labels))

    @property
    def labelled(self) -> int:
        return sum(label is not None for label in self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Means and every clip, plain enough for JSON."""
        clips = [{"label": label, "named": name, **heard} for label, name, heard in zip(self.labels, self.named, self.heard)]
        named = self.right / self.labelled if self.labelled else None
        return {**summary(self.heard), "style_named": named, "each": clips}


@torch.no_grad()
def listened(clips: Iterable[Known], ear: GenreClassifier) -> Row:
    """A row of clips at 48 kHz, at least one, which may come one by one: no audio is kept."""
    labels, named, heard, found, outlines = [], [], [], [], []
    for clip in clips:
        statistic = statistics(decibels(mel_power(clip.audio[None])))
        labels.append(clip.label)
        named.append(ear.config.labels[int(ear.eval()(statistic)[0].argmax())])
        heard.append(hear(clip.audio, SAMPLE_RATE, clip.music))
        found.append(statistic)
        outlines.append(outline(clip.audio))
    return Row(tuple(labels), tuple(named), tuple(heard), torch.cat(found), tuple(outlines))


def table_of(rows: Mapping[str, Row]) -> str:
    """Markdown: a line a row, how many styles are named last."""
    named = {name: in_percent(row.right, row.labelled) for name, row in rows.items() if row.labelled}
    return table({name: summary(row.heard) for name, row in rows.items()}, named, "style named")


def table_by_style(row: Row) -> str:
    """Markdown: a line for each style of a row, whose clips all have one."""
    rows = by_label(row.heard, [label or "" for label in row.labels])
    right = {label: [name == label for name, own in zip(row.named, row.labels) if own == label] for label in rows}
    return table(rows, {label: in_percent(sum(hits), len(hits)) for label, hits in right.items()}, "style named")


def two_samples(rows: Mapping[str, Row], reference: str, ear: GenreClassifier) -> dict[str, dict[str, Any]]:
    """Whether the clips of each row and those of `reference` are of one distribution, by their statistics on the judge's scale."""
    scaled = {name: (row.statistics - ear.mean) / ear.std for name, row in rows.items()}
    return {name: two_sample(scaled[name], scaled[reference]).to_dict() for name in rows if name != reference}


def nearests(rows: Mapping[str, Row], reference: str, training: TrainingSet, phase: Phase = silent) -> dict[str, dict[str, Any]]:
    """How near each row's clips are to the training set, and how many are nearer than 95 % of the `reference`'s; its nearest clips first."""
    found = {name: nearest(row.outlines, training, phase) for name, row in rows.items()}
    limit = torch.tensor([each.distance_db for each in found[reference]]).quantile(0.05).item()
    result = {}
    for name, row in found.items():
        distances = torch.tensor([each.distance_db for each in row])
        quantiles = {f"quantile_{int(100 * q):02d}": distances.quantile(q).item() for q in (0.05, 0.5)}
        clips = sorted(({"clip": number, **asdict(each)} for number, each in enumerate(row)), key=lambda each: each["distance_db"])
        result[name] = {"least": distances.min().item(), **quantiles, "nearer_than_usual": (distances < limit).float().mean().item(), "each": clips}
    return result
