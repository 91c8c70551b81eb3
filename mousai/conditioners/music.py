"""A text conditioner that hears tempo, key and metre in words, and takes from a recording's metadata what is known of it.

Its conditions have tokens as `TextConditioner` gives them, and the numbers and chords of generators/music.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mousai.conditioners.text import TextConditioner, TextConfig
from mousai.request.music import MUSIC_CHECKS, Music, in_words
from mousai.theory import METRES, MODES, chord_tones, key_of
from mousai.types import Condition

NUMBERS = ("bpm", "downbeat", "metre", "root", "mode")


@dataclass(frozen=True)
class MusicTextConfig(TextConfig):
    """As a text conditioner's."""


class MusicTextConditioner(TextConditioner):
    """Tokens of a text, and the numbers that it says; NaN for what it does not say. Its chords are zeros: not said."""

    def __init__(self, config: MusicTextConfig) -> None:
        super().__init__(config)
        self.gives = replace(self.gives, numbers=NUMBERS, curves={"chords": 12})

    def encode(self, texts: list[str]) -> Condition:
        """As of `TextConditioner`, with `numbers` `(b,)` and the curve `chords` `(b, 12, 1)`."""
        condition = super().encode(texts)
        rows = [numbers_of(in_words(text)) for text in texts]
        numbers = {name: torch.tensor([row[name] for row in rows], device=self.device) for name in NUMBERS}
        return replace(condition, numbers=numbers, curves={"chords": torch.zeros(len(texts), 12, 1, device=self.device)})

    def of_recording(self, metadata: Mapping[str, Any], start: float, num_frames: int, frame_seconds: float) -> dict[str, Tensor]:
        """The parts of a condition that a recording's metadata say, from `start` seconds on: numbers `()`, chords `(12, num_frames)`.

        They go before what a caption says; what the metadata do not say is not there, but for chords, which are zeros.
        The metadata are as `data.metadata.normalise` leaves them; a tempo, key or metre that is none of ours is not said.
        """
        numbers = numbers_of(Music(**{name: value for name in MUSIC_CHECKS if (value := checked(name, metadata.get(name))) is not None}))
        if downbeats := metadata.get("downbeats"):
            numbers["downbeat"] = downbeats[0] - start
        known = {f"numbers.{name}": torch.tensor(value) for name, value in numbers.items() if not math.isnan(value)}
        return known | {"curves.chords": chord_curve(metadata.get("chords", ()), start, num_frames, frame_seconds)}


def checked(name: str, value: Any) -> Any:
    """A field of `Music` as a recording's metadata have it; None where it is none that can be."""
    try:
        return MUSIC_CHECKS[name](name, value) if name != "chords" else None
    except ValueError:
        return None


def numbers_of(music: Music, downbeat: float = math.nan) -> dict[str, float]:
    """The numbers of what is said; the bars of a tempo begin at `downbeat` seconds, nowhere in particular unless it is said."""
    root, mode = (math.nan, math.nan) if music.key is None else key_of(music.key)
    return {
        "bpm": math.nan if music.bpm is None else music.bpm,
        "downbeat": math.nan if music.bpm is None else downbeat,
        "metre": math.nan if music.metre is None else float(list(METRES).index(music.metre)),
        "root": float(root),
        "mode": float(MODES.index(mode)) if music.key is not None else math.nan,
    }


def chord_curve(chords: Any, start: float, num_frames: int, frame_seconds: float) -> Tensor:
    """The tones of `chords`, pairs of seconds and symbol in order, as `(12, num_frames)`: the share of each frame in which they sound."""
    curve = torch.zeros(12, num_frames)
    edges = torch.arange(num_frames + 1) * frame_seconds + start
    ends = [begin for begin, _ in chords[1:]] + [math.inf]
    for (begin, symbol), end in zip(chords, ends):
        share = (edges[1:].clamp(max=end) - edges[:-1].clamp(min=begin)).clamp(min=0) / frame_seconds
        tones = torch.zeros(12)
        tones[list(chord_tones(symbol))] = 1.0
        curve += tones[:, None] * share
    return curve


def bar_chords(music: Music, downbeat: float, start: float, num_frames: int, frame_seconds: float) -> Tensor:
    """The tones of chords of which each lasts a bar, again and again from `downbeat` seconds on, `(12, num_frames)`: those at a frame's middle."""
    if music.chords is None:
        return torch.zeros(12, num_frames)
    symbols = music.chords.split()
    tones = torch.zeros(len(symbols), 12)
    for row, symbol in zip(tones, symbols):
        row[list(chord_tones(symbol))] = 1.0
    seconds = (torch.arange(num_frames, dtype=torch.float64) + 0.5) * frame_seconds + start
    bars = (seconds - downbeat) * music.bpm / 60 / METRES[music.metre or "4/4"]
    return tones[(bars.floor() % len(symbols)).long()].T
