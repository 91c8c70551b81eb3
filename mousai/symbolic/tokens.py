"""REMI+ tokens of scores, by miditok: bar, time signature, position, tempo, programme, pitch, velocity, duration in one stream.

For models of tokens and for exchange with other programs (Huang & Yang, arXiv 2002.00212; von Rütte et al., arXiv 2201.10936). The phrase VAE
reads the same grid as notes of four fields, a quarter of the length (phrases.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mousai.checks import extra
from mousai.symbolic import midi
from mousai.symbolic.phrases import GRID, UNHEARD, on_grid
from mousai.symbolic.score import LENGTH, PITCH, START, Part, Score

LONGEST_BEATS = 32  # of a note; miditok counts beats of the metre's denominator, of which an eighth is half a quarter
DENOMINATORS = {2: list(range(1, 7)), 4: list(range(1, 13)), 8: list(range(1, 17)), 16: list(range(1, 17))}


@dataclass(frozen=True)
class TokenCost:
    """How much of a score came back from its tokens."""

    notes: int
    exact: int  # same instrument, pitch, start and length, to what nobody hears
    furthest: float | None  # quarters between a note that is not and the nearest of its instrument and pitch; None where there is no such

    def __str__(self) -> str:
        far = "" if self.exact == self.notes else f", the others up to {self.furthest:.3f} quarters away" if self.furthest is not None else ", others are gone"
        return f"{self.exact} of {self.notes} notes come back exactly{far}"


class Tokenizer:
    """Scores to token numbers and back; the vocabulary follows from this file alone."""

    def __init__(self) -> None:
        """ValueError says what to install where the extra `symbolic` is not."""
        miditok = extra("miditok", "what makes REMI+ tokens", "symbolic")
        config = miditok.TokenizerConfig(
            pitch_range=(0, 127), beat_res={(0, LONGEST_BEATS): GRID}, num_velocities=32, use_chords=False, use_programs=True, use_tempos=True,
            num_tempos=46, tempo_range=(30, 210), use_time_signatures=True, time_signature_range=DENOMINATORS, one_token_stream_for_programs=True,
        )  # fmt: skip
        self._remi: Any = miditok.REMI(config)

    @property
    def vocabulary(self) -> dict[str, int]:
        """Every token by its name, such as "Pitch_60"."""
        return dict(self._remi.vocab)

    def encode(self, score: Score) -> list[int]:
        """The tokens of a score; parts of one programme become one."""
        library = midi.symusic()
        return list(self._remi(library.Score.from_midi(midi.encoded(on_grid(score)))).ids)

    def decode(self, tokens: Sequence[int]) -> Score:
        """The score of tokens, in ticks of the grid."""
        return on_grid(midi.decoded(self._remi.decode(list(tokens)).dumps_midi()))

    def cost(self, score: Score) -> TokenCost:
        """What of a score comes back from its tokens."""
        came = _by_instrument(on_grid(self.decode(self.encode(score))))
        notes = exact = 0
        furthest, gone = 0.0, False
        for key, wanted in _by_instrument(score, GRID / score.ticks).items():
            there = came.get(key, np.zeros((0, 2)))
            distance = np.abs(wanted[:, None] - there[None]).max(axis=-1).min(axis=1, initial=np.inf)
            notes, exact = notes + len(wanted), exact + int((distance <= UNHEARD * GRID).sum())
            gone |= not len(there)
            furthest = max(furthest, float(distance[np.isfinite(distance)].max(initial=0.0)) / GRID)
        return TokenCost(notes, exact, None if gone else furthest)


def _by_instrument(score: Score, scale: float = 1.0) -> dict[tuple[int, int], np.ndarray]:
    """(start, length) `(n, 2)`, times `scale`, of the notes of each instrument and pitch."""
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    for part in score.parts:
        for pitch in np.unique(part.notes[:, PITCH]):
            rows = part.notes[part.notes[:, PITCH] == pitch][:, [START, LENGTH]] * scale
            found.setdefault((-1 if part.drums else part.program, int(pitch)), []).append(rows)
    return {key: np.concatenate(rows) for key, rows in found.items()}
