"""Sets of clips side by side, a row of the table each: what was made, the set that was learned from, its round trip, recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mousai.evaluation.features import SAMPLE_RATE, decibels, mel_power, statistics
from mousai.evaluation.genre import GenreClassifier
from mousai.evaluation.heard import by_label, hear, summary, table
from mousai.evaluation.nearest import Nearest, TrainingSet, nearest, outline
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
    """How near each row's clips are to the training set, over how near those of the `reference` are that have their style.

    Styles differ: one ambient piece is nearer to another than one of chiptune. `nearer_than_usual` is the share of clips that
    are nearer, by that measure, than 95 % of the reference's. Each row's nearest clips come first.
    """
    found = {name: nearest(row.outlines, training, phase) for name, row in rows.items()}
    usual = _usual(found[reference], rows[reference].labels)
    relative = {name: [each.distance_db / usual[label] for each, label in zip(found[name], row.labels)] for name, row in rows.items()}
    limit = torch.tensor(relative[reference]).quantile(0.05)
    result = {}
    for name, row in found.items():
        ratios = torch.tensor(relative[name])
        clips = ({"clip": number, **asdict(each), "relative": ratio} for number, (each, ratio) in enumerate(zip(row, relative[name])))
        result[name] = {
            "median_db": torch.tensor([each.distance_db for each in row]).median().item(),
            "least": ratios.min().item(),
            "quantile_05": ratios.quantile(0.05).item(),
            "median": ratios.median().item(),
            "nearer_than_usual": (ratios < limit).float().mean().item(),
            "each": sorted(clips, key=lambda each: each["relative"]),
        }
    return result


def _usual(found: Sequence[Nearest], labels: Sequence[str | None]) -> dict[str | None, float]:
    """The median distance of the clips of each label."""
    by_label: dict[str | None, list[float]] = {}
    for each, label in zip(found, labels, strict=True):
        by_label.setdefault(label, []).append(each.distance_db)
    return {label: torch.tensor(distances).quantile(0.5).clamp(min=1e-6).item() for label, distances in by_label.items()}
