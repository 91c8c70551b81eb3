"""A text conditioner that hears tempo, key and metre in words, and takes from a recording's metadata what is known of it.

Its conditions have tokens as `TextConditioner` gives them, and the numbers and curves of generators/music.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mousai.conditioners.text import TextConditioner, TextConfig
from mousai.request.music import MUSIC_CHECKS, Music, in_words
from mousai.theory import METRES, MODES, chord_tones, key_of
from mousai.types import Condition

NUMBERS = ("bpm", "downbeat", "metre", "root", "mode")
CURVES = {"chords": 12, "beat": 2}
CYCLE = 12  # beats after which every metre's two bars begin again


@dataclass(frozen=True)
class MusicTextConfig(TextConfig):
    """As a text conditioner's."""


class MusicTextConditioner(TextConditioner):
    """Tokens of a text, and the numbers that it says; NaN for what it does not say. Its curves are zeros: not said."""

    def __init__(self, config: MusicTextConfig) -> None:
        super().__init__(config)
        self.gives = replace(self.gives, numbers=NUMBERS, curves=CURVES)

    def encode(self, texts: list[str]) -> Condition:
        """As of `TextConditioner`, with `numbers` `(b,)` and the curves `chords` `(b, 12, 1)` and `beat` `(b, 2, 1)`."""
        condition = super().encode(texts)
        rows = [numbers_of(in_words(text)) for text in texts]
        numbers = {name: torch.tensor([row[name] for row in rows], device=self.device) for name in NUMBERS}
        curves = {name: torch.zeros(len(texts), features, 1, device=self.device) for name, features in CURVES.items()}
        return replace(condition, numbers=numbers, curves=curves)

    def of_recording(self, metadata: Mapping[str, Any], start: float, num_frames: int, frame_seconds: float) -> dict[str, Tensor]:
        """The parts of a condition that a recording's metadata say, from `start` seconds on: numbers `()`, curves `(e, num_frames)`.

        They go before what a caption says; what the metadata do not say is not there, but for curves, which are zeros.
        The metadata are as `data.metadata.normalise` leaves them; a tempo, key or metre that is none of ours is not said.
        `beats` are for a tempo that is not constant; without `downbeats` nobody knows which of them begin a bar, and they are not said.
        """
        numbers = numbers_of(Music(**{name: value for name in MUSIC_CHECKS if (value := checked(name, metadata.get(name))) is not None}))
        downbeats, beats = metadata.get("downbeats"), metadata.get("beats", ())
        varies = len(beats) > 1
        if downbeats and not varies:
            numbers["downbeat"] = downbeats[0] - start
        known = {f"numbers.{name}": torch.tensor(value) for name, value in numbers.items() if not math.isnan(value)}
        curves = {"chords": chord_curve(metadata.get("chords", ()), start, num_frames, frame_seconds), "beat": torch.zeros(2, num_frames)}
        if downbeats and varies:
            curves["beat"] = beat_curve(beats_at(beats, downbeats[0], edges(start, num_frames, frame_seconds)))
        return known | {f"curves.{name}": curve for name, curve in curves.items()}


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


def edges(start: float, num_frames: int, frame_seconds: float) -> Tensor:
    """Where frames begin, and where the last one ends, in seconds, `(num_frames + 1,)` float64."""
    return torch.arange(num_frames + 1, dtype=torch.float64) * frame_seconds + start


def beats_at(beats: Sequence[float], downbeat: float, seconds: Tensor) -> Tensor:
    """How many beats since a downbeat are over at `seconds (n,)`; between two of the `beats`, in seconds, and beyond them as fast as the nearest two."""
    times = torch.as_tensor(beats, dtype=torch.float64)
    after = torch.searchsorted(times, seconds).clamp(1, len(times) - 1)
    begin, end = times[after - 1], times[after]
    return after - 1 + (seconds - begin) / (end - begin).clamp(min=1e-6) - int((times - downbeat).abs().argmin())


def beat_curve(beats: Tensor) -> Tensor:
    """The curve `beat` `(2, l)` of generators/music.py, of the beats `(l + 1,)` since a downbeat that are over at the edges of frames."""
    return torch.stack([beats[:-1] % CYCLE, beats.diff()]).float()


def chord_curve(chords: Any, start: float, num_frames: int, frame_seconds: float) -> Tensor:
    """The tones of `chords`, pairs of seconds and symbol in order, as `(12, num_frames)`: the share of each frame in which they sound."""
    curve = torch.zeros(12, num_frames)
    at = edges(start, num_frames, frame_seconds).float()
    ends = [begin for begin, _ in chords[1:]] + [math.inf]
    for (begin, symbol), end in zip(chords, ends):
        share = (at[1:].clamp(max=end) - at[:-1].clamp(min=begin)).clamp(min=0) / frame_seconds
        tones = torch.zeros(12)
        tones[list(chord_tones(symbol))] = 1.0
        curve += tones[:, None] * share
    return curve


def bar_chords(music: Music, beats: Tensor) -> Tensor:
    """The tones of chords of which each lasts a bar, again and again, `(12, l)`: those at the middle of frames, by the beats `(l,)` since a downbeat there."""
    if music.chords is None:
        return torch.zeros(12, len(beats))
    symbols = music.chords.split()
    tones = torch.zeros(len(symbols), 12)
    for row, symbol in zip(tones, symbols):
        row[list(chord_tones(symbol))] = 1.0
    bars = beats / METRES[music.metre or "4/4"]
    return tones[(bars.floor() % len(symbols)).long()].T
