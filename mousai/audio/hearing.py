"""What is heard in a recording of tempo, beats, bars and key, where it is clear; thresholds from docs/data.md, "What is heard"."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import soxr
import torch
from torch import Tensor

from mousai.audio import io
from mousai.audio.beat_this import tracker
from mousai.audio.beats import Beats, hear_beats
from mousai.audio.key import RATE, Key, hear_key, pitch_classes

CLEAR, CLEAR_UNSTEADY, CLEAR_BARS = 1.0, 3.0, 2.5  # `Beats.clear` of a steady grid and of other beats, `Beats.bars_clear`
CLEAR_TRACKED_BARS = 0.8  # the same of beats that a trained tracker gave
CLEAR_KEY = 0.05  # `Key.margin`
WHOLE = 0.02  # beats a minute: at 120 bpm 20 ms in two minutes


@dataclass(frozen=True)
class Heard:
    """All that was heard, however unclear; None where there is nothing of the kind."""

    beats: Beats | None
    key: Key | None

    @property
    def beats_are_clear(self) -> bool:
        return self.beats is not None and (self.beats.tracked or self.beats.clear > (CLEAR if self.beats.steady else CLEAR_UNSTEADY))

    @property
    def bars_are_clear(self) -> bool:
        return self.beats_are_clear and self.beats.bars_clear > (CLEAR_TRACKED_BARS if self.beats.tracked else CLEAR_BARS)

    @property
    def key_is_clear(self) -> bool:
        return self.key is not None and self.key.margin > CLEAR_KEY

    def fields(self) -> dict[str, object]:
        """What is clear as a manifest has it, None for the rest: `bpm`, `first_beat`, `beats` of a tempo that is not constant, `metre`, `downbeats`, `key`.

        The tempo of a steady grid is, even where it is not clear which are the beats and which is halfway between them.
        """
        beats, bars = self.beats if self.beats_are_clear else None, self.beats if self.bars_are_clear else None
        return {
            "bpm": nearly_whole(self.beats.bpm) if self.beats and (self.beats.steady or beats) else None,
            "first_beat": beats and beats.times[0],
            "beats": list(beats.times) if beats and not beats.steady else None,
            "metre": bars and bars.metre,
            "downbeats": list(bars.downbeats) if bars else None,
            "key": self.key.name if self.key_is_clear else None,
        }

    def clarity(self) -> dict[str, float | None]:
        """How clear each is, whether it is enough or not."""
        beats, key = self.beats, self.key
        return {
            "beats": beats and round(beats.clear, 2), "steady": beats and beats.steady, "bars": beats and round(beats.bars_clear, 2),
            "key": key and round(key.margin, 3),
        }  # fmt: skip


def nearly_whole(bpm: float) -> float:
    """A tempo with three digits, and without any if it is a whole one but for what hearing is off by."""
    return float(round(bpm)) if abs(bpm - round(bpm)) < WHOLE else round(bpm, 3)


def hear(audio: Tensor, bpm: float | None = None, metre: str | None = None, beat_this: Path | None = None) -> Heard:
    """What is heard in audio `(s,)` at `RATE`; a tempo or metre that is known is kept to, but by the tracker of a checkpoint `beat_this`."""
    pitches = pitch_classes(audio)
    beats = hear_beats(audio, pitches, bpm, metre) if beat_this is None else tracker(beat_this)(audio)
    return Heard(beats, hear_key(pitches))


def hear_file(
    place: io.File, bpm: float | None = None, metre: str | None = None, start_seconds: float = 0.0, beat_this: Path | None = None
) -> Heard:
    """As `hear`, of a file from `start_seconds`, where its seconds begin to count, to its end; AudioError for one that cannot be read."""
    return hear(io.read(place, RATE, 1, start_seconds)[0], bpm, metre, beat_this)


def hear_audio(audio: Tensor, sample_rate: int, bpm: float | None = None, metre: str | None = None) -> Heard:
    """As `hear`, of audio `(c, s)` at any rate, of any device and precision."""
    mono = audio.detach().float().cpu().mean(0)
    return hear(torch.from_numpy(soxr.resample(mono.numpy(), sample_rate, RATE)), bpm, metre)
