"""What the prior is told of a piece, and what it has to say: bars with chords, tracks with their ranges, and which phrase is where.

A cell, one track in one bar, is an *act*: a rest, a new phrase, or the one of so many bars before again (`BACK`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mousai.symbolic.harmony import chords_of
from mousai.symbolic.phrases import GRID, Bar, Grid, gridded
from mousai.symbolic.score import DRUMS, LENGTH, PITCH, START, Part, Score
from mousai.symbolic.sources import in_home_key

METRES = ((4, 4), (3, 4), (2, 4), (6, 8), (12, 8), (9, 8), (2, 2), (3, 8), (6, 4), (3, 2), (5, 4))
OTHER_METRE = len(METRES)
BACK = (1, 2, 4, 8)  # bars that are looked back
REST, NEW = 0, 1  # then an act for each of BACK
ACTS = 2 + len(BACK)
REGISTERS = 22  # six semitones each
UNPITCHED = 21  # the register of drums
DENSITIES = 10  # of a track, in half octaves of notes a quarter, where it plays
POLYPHONIES = 6  # of a track, in half octaves of notes that sound together, where any does
TEMPOS = 12  # in sixths of an octave of quarters a minute, from 40 on
MOST_TRACKS = 8


@dataclass(frozen=True)
class Track:
    """Who plays: the family of instruments, about how high (`REGISTERS`), how much (`DENSITIES`) and in how many voices (`POLYPHONIES`, the class after them is not said)."""

    family: int
    register: int
    density: int
    polyphony: int = POLYPHONIES


@dataclass(frozen=True)
class Material:
    """A piece in the home key: `cells[bar, track]` are acts, and `phrases[bar][track]` what is played."""

    style: str
    minor: bool
    tempo: int
    bars: tuple[Bar, ...]
    chords: np.ndarray  # (bars, 2) classes: of a bar's first and second half
    parts: tuple[Part, ...]
    tracks: tuple[Track, ...]
    acts: np.ndarray  # (bars, tracks)
    phrases: tuple[tuple[np.ndarray, ...], ...]
    up: int  # semitones that the piece was moved into the home key
    order: tuple[int, ...]  # which of the score's parts each is
    texts: tuple[str, ...] = ()  # what may be said of it


def metre_class(metre: tuple[int, int]) -> int:
    return METRES.index(metre) if metre in METRES else OTHER_METRE


def tempo_class(quarters: float) -> int:
    """The class of a tempo in quarters a minute."""
    return min(max(round(6 * math.log2(max(quarters, 1) / 40)), 0), TEMPOS - 1)


def density_class(notes_a_quarter: float) -> int:
    return min(max(round(2 * math.log2(max(notes_a_quarter, 0.01)) + 4), 0), DENSITIES - 1)


def notes_of_density(density: int) -> float:
    """The notes a quarter that a class stands for."""
    return 2 ** ((density - 4) / 2)


def polyphony_class(voices: float) -> int:
    return min(max(round(2 * math.log2(max(voices, 1))), 0), POLYPHONIES - 1)


def halves(bars: Sequence[Bar]) -> list[tuple[int, int]]:
    """The two halves of each bar, the first of them the longer where it has an odd number of beats."""
    spans = []
    for bar in bars:
        beat = 3 * GRID // 2 if bar.metre[1] == 8 and bar.metre[0] % 3 == 0 else 4 * GRID // bar.metre[1] if 4 * GRID % bar.metre[1] == 0 else GRID
        beats = max(bar.length // max(beat, 1), 1)
        middle = min((beats + 1) // 2 * beat, bar.length) if beats > 1 else bar.length // 2
        spans += [(bar.start, bar.start + middle), (bar.start + middle, bar.start + bar.length)]
    return spans


def material_of(score: Score, style: str = "") -> Material:
    """What the prior sees of a score; of more than `MOST_TRACKS` parts those that play most. Drums come first, then from low to high."""
    home, up, mode = in_home_key(score)
    grid = gridded(home)
    order = sorted(range(len(grid.parts)), key=lambda i: -len(grid.parts[i].notes))[:MOST_TRACKS]
    order.sort(key=lambda i: (not grid.parts[i].drums, _height(grid.parts[i]), i))
    parts = tuple(grid.parts[i] for i in order)
    phrases = tuple(tuple(bar[i] for i in order) for bar in grid.phrases)
    chords = chords_of(home, halves(grid.bars)).reshape(-1, 2)
    tempo = tempo_class(score.tempos[0][1] if score.tempos else 120.0)
    return Material(style, mode == "minor", tempo, grid.bars, chords, parts, tracks_of(grid, order), acts_of(phrases, grid.bars), phrases, up, tuple(order))


def _height(part: Part) -> float:
    return float(part.notes[:, PITCH].mean()) if len(part.notes) else 0.0


def tracks_of(grid: Grid, order: Sequence[int]) -> tuple[Track, ...]:
    """Family, register and density of parts of a grid."""
    found = []
    for i in order:
        part = grid.parts[i]
        quarters = sum(bar.length for bar, phrases in zip(grid.bars, grid.phrases, strict=True) if len(phrases[i])) / GRID
        register = UNPITCHED if part.drums else min(int(_height(part)) // 6, UNPITCHED - 1)
        voices = POLYPHONIES if part.drums else polyphony_class(voices_of(part))
        found.append(Track(DRUMS if part.drums else part.family, register, density_class(len(part.notes) / max(quarters, 1e-9)), voices))
    return tuple(found)


def voices_of(part: Part) -> float:
    """How many notes of a part sound together, a mean over the time in which any does; 1 for none."""
    if not len(part.notes):
        return 1.0
    starts, ends = part.notes[:, START], part.notes[:, START] + part.notes[:, LENGTH]
    edges = np.unique(np.concatenate([starts, ends]))
    sounding = np.searchsorted(np.sort(starts), edges[:-1], side="right") - np.searchsorted(np.sort(ends), edges[:-1], side="right")
    return float((sounding * np.diff(edges)).sum() / max(np.diff(edges)[sounding > 0].sum(), 1))


def acts_of(phrases: Sequence[Sequence[np.ndarray]], bars: Sequence[Bar]) -> np.ndarray:
    """The act of each cell `(bars, tracks)`: the shortest way back to the same phrase in a bar of the same length, else a new one."""
    names = [[phrase.tobytes() if len(phrase) else b"" for phrase in row] for row in phrases]
    acts = np.full((len(names), len(names[0]) if names else 0), NEW)
    for bar, row in enumerate(names):
        for track, name in enumerate(row):
            back = next((k for k, far in enumerate(BACK) if bar >= far and names[bar - far][track] == name and bars[bar - far].length == bars[bar].length), None)
            acts[bar, track] = REST if not name else NEW if back is None else 2 + back
    return acts
