"""Music as notes: parts with their programmes, tempos, metres, keys, and what a listener is told of the form.

Times are whole ticks, `Score.ticks` of them a quarter note. A part's notes are one array `(n, 4)`: start, length, pitch
0..127, velocity 1..127, in the order of start, then pitch.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mousai.request.instruments import FAMILIES, NAMES

START, LENGTH, PITCH, VELOCITY = range(4)
DRUMS = len(FAMILIES)


def notes_of(rows: np.ndarray | Iterable[tuple[int, int, int, int]]) -> np.ndarray:
    """Notes `(n, 4)` in their order, none of which sounds on while its own pitch begins anew; of those that begin together the longest stays."""
    notes = np.array(rows if isinstance(rows, np.ndarray) else list(rows), dtype=np.int64).reshape(-1, 4)
    notes = notes[np.lexsort((-notes[:, LENGTH], notes[:, PITCH], notes[:, START]))]
    again = np.zeros(len(notes), bool)
    again[1:] = (notes[1:, [START, PITCH]] == notes[:-1, [START, PITCH]]).all(axis=1)
    notes = notes[~again]
    own = np.lexsort((notes[:, START], notes[:, PITCH]))  # by pitch, then start
    same = notes[own[1:], PITCH] == notes[own[:-1], PITCH]
    room = np.where(same, np.diff(notes[own, START]), np.iinfo(np.int64).max)
    notes[own[:-1], LENGTH] = np.minimum(notes[own[:-1], LENGTH], room)
    return notes


@dataclass(frozen=True, eq=False)
class Part:
    """What one player plays: a General MIDI programme, or of drums a kit's number, and its notes."""

    name: str
    program: int
    drums: bool
    notes: np.ndarray

    @property
    def family(self) -> int:
        """Which of `FAMILIES`, or `DRUMS`."""
        return DRUMS if self.drums else self.program // 8

    @property
    def instrument(self) -> str:
        """What plays it: its programme's name, or "drums"."""
        return "drums" if self.drums else NAMES[self.program]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and (self.name, self.program, self.drums) == (other.name, other.program, other.drums) and np.array_equal(self.notes, other.notes)


@dataclass(frozen=True)
class Score:
    """A piece. Without tempos it goes at 120 quarters a minute, without metres in 4/4."""

    ticks: int  # a quarter
    parts: tuple[Part, ...]
    tempos: tuple[tuple[int, float], ...] = ()  # from which tick on, quarters a minute
    metres: tuple[tuple[int, int, int], ...] = ()  # tick, numerator, denominator
    keys: tuple[tuple[int, int, bool], ...] = ()  # tick, sharps (negative: flats), whether it is minor
    sections: tuple[tuple[int, str], ...] = ()
    chords: tuple[tuple[int, str], ...] = ()
    recipe: Mapping[str, Any] | None = field(default=None, compare=False)  # how mousai made it

    @property
    def num_notes(self) -> int:
        return sum(len(part.notes) for part in self.parts)

    @property
    def end(self) -> int:
        """The tick at which the last note ends."""
        return max((int((part.notes[:, START] + part.notes[:, LENGTH]).max()) for part in self.parts if len(part.notes)), default=0)

    @property
    def seconds(self) -> float:
        return float(self.seconds_at(np.array([self.end]))[0])

    def seconds_at(self, ticks: np.ndarray) -> np.ndarray:
        """When ticks come, in seconds from the beginning."""
        tempos = self.tempos if self.tempos and self.tempos[0][0] <= 0 else ((0, 120.0), *self.tempos)
        starts = np.array([tick for tick, _ in tempos], np.float64)
        each = np.array([60.0 / bpm / self.ticks for _, bpm in tempos])  # seconds a tick
        before = np.concatenate([[0.0], np.cumsum(np.diff(starts) * each[:-1])])
        place = np.maximum(np.searchsorted(starts, ticks, side="right") - 1, 0)
        return before[place] + (ticks - starts[place]) * each[place]

    def metre_at(self, tick: int) -> tuple[int, int]:
        """Numerator and denominator that hold at a tick."""
        place = bisect.bisect_right([start for start, _, _ in self.metres], tick) - 1
        return self.metres[place][1:] if place >= 0 else (4, 4)

    def bars(self, end: int | None = None) -> list[tuple[int, int]]:
        """(start, length) of each bar up to the end of the music, or to `end`; a new metre begins a new bar."""
        end, starts = self.end if end is None else end, [tick for tick, _, _ in self.metres]
        found, tick = [], 0
        while tick < end:
            place = bisect.bisect_right(starts, tick)
            numerator, denominator = self.metres[place - 1][1:] if place else (4, 4)
            following = tick + max(1, round(4 * self.ticks * numerator / denominator))
            if place < len(starts):
                following = min(following, starts[place])
            found.append((tick, following - tick))
            tick = following
        return found
