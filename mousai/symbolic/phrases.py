"""A score on the grid: bars times tracks of phrases, each what one track plays in one bar.

The grid has `GRID` positions a quarter, so that sixteenths and triplets of eighths and of sixteenths lie on it. A phrase is an
array `(n, 4)` of classes: position in its bar, pitch, place of its duration in `DURATIONS`, and velocity in sixteen-wide
steps, in the order of position, then pitch. What lies on the grid comes back from it exactly; `Cost` says what does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mousai.symbolic.score import LENGTH, PITCH, START, VELOCITY, Part, Score, notes_of

GRID = 12
LONGEST_BAR = 8 * GRID  # positions; what is longer is read as several bars
DURATIONS = (*range(1, 4 * GRID + 1), 54, 60, 66, 72, 84, 96, 120, 144, 192)
VELOCITIES = 8
UNHEARD = 0.01  # quarters: a note that moves or stretches by less is where and as long as it was
MOST_NOTES = 64  # of a phrase; a bar that has more is cut off there
FIELDS = (LONGEST_BAR, 128, len(DURATIONS), VELOCITIES)  # classes of position, pitch, duration and velocity

_DURATION = np.array(DURATIONS)
_NEAREST = np.abs(np.arange(DURATIONS[-1] + 1)[:, None] - _DURATION).argmin(axis=1)  # class of a duration in positions


@dataclass(frozen=True)
class Bar:
    """Where a bar is on the grid, and its metre."""

    start: int
    length: int
    metre: tuple[int, int]


@dataclass(frozen=True)
class Cost:
    """What a score lost on the grid; all 0 for one that lies on it (velocities aside, whose steps are sixteen wide).

    Many notations end a note a tick before the next: what is below `UNHEARD` does not count.
    """

    notes: int
    moved: int  # notes whose start is another
    stretched: int  # notes whose length is another
    lost: int  # notes that fell on another or were too many for a bar
    furthest: float  # quarters that a start moved at most

    def __str__(self) -> str:
        return f"{self.notes} notes: {self.moved} moved (at most {self.furthest:.3f} quarters), {self.stretched} of other length, {self.lost} lost"


@dataclass(frozen=True)
class Grid:
    """A score as phrases: `phrases[bar][track]`."""

    bars: tuple[Bar, ...]
    parts: tuple[Part, ...]  # who plays a track; of their notes nothing counts here
    phrases: tuple[tuple[np.ndarray, ...], ...]
    cost: Cost


def on_grid(score: Score) -> Score:
    """A score in ticks of the grid: starts and ends go to the nearest position, but no note becomes shorter than one."""
    if score.ticks == GRID:
        return score

    def place(ticks: np.ndarray | int) -> np.ndarray:
        return (2 * np.asarray(ticks) * GRID + score.ticks) // (2 * score.ticks)  # halves go up

    parts = []
    for part in score.parts:
        rows = part.notes.copy()
        rows[:, START], rows[:, LENGTH] = place(part.notes[:, START]), np.maximum(place(part.notes[:, START] + part.notes[:, LENGTH]) - place(part.notes[:, START]), 1)
        parts.append(Part(part.name, part.program, part.drums, notes_of(rows)))
    moved = {name: tuple((int(place(each[0])), *each[1:]) for each in getattr(score, name)) for name in ("tempos", "metres", "keys", "sections", "chords")}
    return Score(GRID, tuple(parts), **moved, recipe=score.recipe)


def bars_of(score: Score, end: int | None = None) -> tuple[Bar, ...]:
    """The bars of a score on the grid, to the end of its music or to `end`, none longer than `LONGEST_BAR`."""
    found = []
    for start, length in score.bars(end):
        for first in range(start, start + length, LONGEST_BAR):
            found.append(Bar(first, min(LONGEST_BAR, start + length - first), score.metre_at(start)))
    return tuple(found)


def gridded(score: Score, end: int | None = None) -> Grid:
    """The phrases of a score, to the end of its music or of the grid's position `end`, and what the grid cost."""
    there = on_grid(score)
    bars = bars_of(there, end)
    edges = np.array([bar.start for bar in bars])
    columns, cut = [], 0
    for part in there.parts:
        notes = part.notes
        place = np.searchsorted(edges, notes[:, START], side="right") - 1
        rows = np.stack([
            notes[:, START] - edges[place], notes[:, PITCH], _NEAREST[np.minimum(notes[:, LENGTH], DURATIONS[-1])], np.minimum(notes[:, VELOCITY] // 16, VELOCITIES - 1),
        ], axis=1)  # fmt: skip
        phrases = np.split(rows, np.searchsorted(place, np.arange(1, len(bars))))
        cut += sum(max(len(phrase) - MOST_NOTES, 0) for phrase in phrases)
        columns.append([phrase[:MOST_NOTES] for phrase in phrases])
    return Grid(bars, there.parts, tuple(zip(*columns, strict=True)), _cost(score, there, cut))


def _cost(score: Score, there: Score, cut: int) -> Cost:
    starts = np.concatenate([part.notes[:, START] for part in score.parts]) * (GRID / score.ticks)
    lengths = np.concatenate([part.notes[:, LENGTH] for part in score.parts]) * (GRID / score.ticks)
    shift = np.abs(starts - np.round(starts)) / GRID
    longer = np.abs(lengths - _DURATION[_NEAREST[np.minimum(np.round(lengths).astype(int), DURATIONS[-1])]]) / GRID
    lost = score.num_notes - there.num_notes + cut
    return Cost(score.num_notes, int((shift > UNHEARD).sum()), int((longer > UNHEARD).sum()), lost, float(shift.max(initial=0.0)))


def notes_in(phrase: np.ndarray, start: int) -> np.ndarray:
    """The notes `(n, 4)` of a phrase in a bar that begins at `start`."""
    return np.stack([start + phrase[:, 0], _DURATION[phrase[:, 2]], phrase[:, 1], 16 * phrase[:, 3] + 8], axis=1).astype(np.int64)


def ungridded(bars: Sequence[Bar], parts: Sequence[Part], phrases: Sequence[Sequence[np.ndarray]]) -> tuple[Part, ...]:
    """Parts with the notes of `phrases[bar][track]`, in ticks of the grid."""
    made = []
    for track, part in enumerate(parts):
        rows = [notes_in(phrases[number][track], bar.start) for number, bar in enumerate(bars)]
        made.append(Part(part.name, part.program, part.drums, notes_of(np.concatenate(rows) if rows else ())))
    return tuple(made)
