"""The level of a long piece: sections brought nearer to one another, and peaks held where nothing else is to change.

A model makes one section louder than another for no musical reason. What a section deviates from the mean of all by more than
`ALLOWED_LU` is taken back, by at most `MOST_DB`, with a gain that moves within the transitions alone, and at the end of a loop:
inside a section nothing changes but its level.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mousai.audio.growing import GrowingWav
from mousai.audio.loudness import LoudnessMeter, limited
from mousai.request.piece import DEFAULT_TRANSITION, Piece

ALLOWED_LU = 2.0
MOST_DB = 6.0
LEAST_SECONDS = 3.0  # between its transitions, of a section that is measured without them
CUT_SECONDS = 0.05  # within which the gain moves where a transition takes no time


class SectionMeters:
    """The loudness of each section of a piece, each by itself, of audio that comes block after block."""

    def __init__(self, piece: Piece, sample_rate: int, channels: int) -> None:
        self.spans = [tuple(round(seconds * sample_rate) for seconds in span) for span in spans_of(piece)]
        self.meters = [LoudnessMeter(sample_rate, channels) for _ in self.spans]
        self.place = 0

    def add(self, block: Tensor) -> None:
        for (first, stop), meter in zip(self.spans, self.meters):
            begin, end = max(0, first - self.place), min(block.shape[-1], stop - self.place)
            if begin < end:
                meter.add(block[:, begin:end])
        self.place += block.shape[-1]

    @property
    def lufs(self) -> list[float]:
        return [meter.integrated_lufs for meter in self.meters]


def spans_of(piece: Piece) -> list[tuple[float, float]]:
    """From when to when each section is heard alone, seconds; all of it where little is left between its transitions."""
    spans = []
    edges = [(0.0, 0.0), *piece.transitions, (piece.seconds, piece.seconds)]
    for start, section, (_, begin), (end, _) in zip(piece.starts, piece.sections, edges, edges[1:]):
        whole = (start, start + section.seconds)
        spans.append((begin, end) if end - begin >= LEAST_SECONDS else whole)
    return spans


def section_gains(lufs: Sequence[float], seconds: Sequence[float]) -> list[float]:
    """Gains in dB for sections of that loudness and length; 0 for silent ones, which say nothing of the mean either."""
    heard = [(level, length) for level, length in zip(lufs, seconds) if level > -math.inf]
    if not heard:
        return [0.0] * len(lufs)
    mean = 10 * math.log10(sum(length * 10 ** (level / 10) for level, length in heard) / sum(length for _, length in heard))

    def gain(level: float) -> float:
        excess = min(max(0.0, abs(level - mean) - ALLOWED_LU), MOST_DB)
        return math.copysign(excess, mean - level)

    return [gain(level) if level > -math.inf else 0.0 for level in lufs]


def levelled(blocks: Iterator[Tensor], piece: Piece, gains_db: Sequence[float], sample_rate: int) -> Iterator[Tensor]:
    """The blocks `(c, s)` of a piece with each section's gain, linear in dB from one to the next within their transition."""
    times, levels = [], []
    for (begin, end), before, after in zip(piece.transitions, gains_db, gains_db[1:]):
        half = max(0.0, CUT_SECONDS - (end - begin)) / 2
        times, levels = [*times, begin - half, end + half], [*levels, before, after]
    if piece.loop:  # its end goes on with the first section
        back = min(DEFAULT_TRANSITION, piece.sections[-1].seconds) / 2
        times, levels = [*times, piece.seconds - back, piece.seconds], [*levels, gains_db[-1], gains_db[0]]
    place = 0
    for block in blocks:
        seconds = np.arange(place, place + block.shape[-1]) / sample_rate
        yield block * torch.from_numpy(10 ** (np.interp(seconds, times, levels) / 20)).float()
        place += block.shape[-1]


def as_it_comes(wav: GrowingWav, recorded: int, tail: Tensor, peaks: tuple[float, float], ceiling_db: float) -> Iterator[Tensor]:
    """The audio with not a sample touched, unless one is beyond full scale: in the first `recorded` samples, or in those after them.

    `peaks` are the largest samples of either part; only a part that has such is limited. Where the second one is, it is faded
    in over `tail`, what the recording itself has in the place of its first samples, so that the two meet without a step.
    """
    parts = range(0, recorded), range(recorded, wav.num_samples)
    for part, peak, before in zip(parts, peaks, (tail[:, :0], tail)):
        blocks = wav.blocks(part.start, part.stop)
        yield from blocks if peak <= 1 else faded_in(limited(blocks, wav.sample_rate, 1.0, ceiling_db), before.clamp(-1, 1))


def faded_in(blocks: Iterator[Tensor], before: Tensor) -> Iterator[Tensor]:
    """The blocks `(c, s)`, over as many samples as `before (c, n)` has taking over from it."""
    place, fade = 0, before.shape[-1]
    for block in blocks:
        old = before[:, place : place + block.shape[-1]]
        rise = (torch.arange(place, place + old.shape[-1]) + 0.5) / max(1, fade)
        yield torch.cat([torch.lerp(old, block[:, : old.shape[-1]], rise), block[:, old.shape[-1] :]], dim=-1)
        place += block.shape[-1]
