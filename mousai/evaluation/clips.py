"""Crops of a data set to judge by: the same ones for the same seed, whatever else is asked."""

from __future__ import annotations

import random
from dataclasses import dataclass

from torch import Tensor

from mousai.audio.io import AudioError
from mousai.audio.level import QUIET, rms_of
from mousai.data.sources import Source, Track

REDRAWS = 16


@dataclass(frozen=True)
class Clip:
    """Audio `(c, s)` and where it is from."""

    key: str
    start_seconds: float
    audio: Tensor

    def to_dict(self) -> dict[str, str | float]:
        return {"key": self.key, "start_seconds": self.start_seconds}


def draw_clips(
    source: Source, seconds: float, count: int | None, sample_rate: int, channels: int, seed: int = 0, least_seconds: float | None = None
) -> list[Clip]:
    """`count` crops, one of each track before any gets a second one; None = one of each.

    Tracks shorter than `least_seconds` (default: `seconds`) are left out, those between give all they have; so are the
    damaged and the silent. Fewer clips come where there are fewer than `count` tracks of exactly one crop. Raises
    ValueError where none is left.
    """
    if seconds <= 0 or (count is not None and count < 1):
        raise ValueError(f"expected seconds above 0 and at least 1 clip, came {seconds} and {count}")
    least = seconds if least_seconds is None else min(seconds, least_seconds)
    tracks = [track for track in source if track.seconds >= least]
    random.Random(seed).shuffle(tracks)
    clips = []
    for number in range(len(tracks) if count is None else count if tracks else 0):
        track, turn = tracks[number % len(tracks)], number // len(tracks)
        if (turn and track.seconds <= seconds) or track.key in {key for key, _ in source.skipped}:
            continue
        clip = _draw(source, track, seconds, sample_rate, channels, random.Random(f"{seed}:{turn}:{track.key}"))
        if clip is not None:
            clips.append(clip)
    if not clips:
        raise ValueError(f"{source.name}: no track of {least:.1f} s or more with sound in it; take less seconds")
    return clips


def _draw(source: Source, track: Track, seconds: float, sample_rate: int, channels: int, rng: random.Random) -> Clip | None:
    """A crop that is not quiet, or None."""
    num_samples = round(min(seconds, track.seconds) * sample_rate)
    for _ in range(REDRAWS):
        start = rng.uniform(0, max(0.0, track.seconds - seconds))
        try:
            audio = source.read(track, start, num_samples, sample_rate, channels)
        except AudioError as error:
            source.skip(track.key, str(error))
            return None
        if audio.shape[-1] == num_samples and rms_of(audio) > QUIET:
            return Clip(track.key, start, audio)
    source.skip(track.key, f"silent in {REDRAWS} places of {seconds} s")
    return None


