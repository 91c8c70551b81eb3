"""Notes played with a SoundFont (sf2 or sf3) by tinysoundfont, one part at a time, to the sample."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mousai.checks import extra
from mousai.data.synth.sfmodulators import baked

SAMPLE_RATE = 48000
PLACES = (  # where distributions put a General MIDI SoundFont
    "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
    "/usr/share/sounds/sf3/MuseScore_General.sf3",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/soundfonts/FluidR3_GM.sf2",
    "/usr/share/sounds/sf3/default-GM.sf3",
    "/usr/share/sounds/sf2/default-GM.sf2",
)
_FLUSH = 4800  # samples after which a silenced synthesiser is silent
Hit = tuple[int, int, int, int]  # (on, off) in samples, MIDI key, velocity 1..127


def locate(soundfont: str | Path) -> Path:
    """The file that is meant: a path, or for "auto" the first of `PLACES` that is there."""
    if str(soundfont) != "auto":
        path = Path(soundfont)
        if not path.is_file():
            raise FileNotFoundError(f"no SoundFont at {path}: expected an .sf2 or .sf3 file")
        return path
    found = next((Path(place) for place in PLACES if os.path.isfile(place)), None)
    if found is None:
        raise FileNotFoundError(f"no SoundFont at {', '.join(PLACES)}; name a file, or install one (Debian: apt install musescore-general-soundfont-small)")
    return found


class Font:
    """A loaded SoundFont."""

    def __init__(self, path: str | Path) -> None:
        """Raises ValueError for what is no General MIDI SoundFont; needs the extra `soundfont`."""
        tinysoundfont = extra("tinysoundfont", "playing a SoundFont", "soundfont", otherwise="see docs/data.md for how to do without PyAudio")
        self.path = Path(path)
        self._synth: Any = tinysoundfont.Synth(gain=0.0, samplerate=SAMPLE_RATE)
        try:
            self._id = self._synth.sfload(baked(self.path.read_bytes()), max_voices=512)
        except (RuntimeError, ValueError, tinysoundfont.SoundFontException) as error:
            raise ValueError(f"{path}: expected a SoundFont (.sf2 or .sf3), this cannot be read as one: {error}") from error

    def has(self, bank: int, preset: int) -> bool:
        return self._synth.sfpreset_name(self._id, bank, preset) is not None

    def play(self, bank: int, preset: int, hits: list[Hit], num_samples: int) -> np.ndarray:
        """Play notes on a programme, kits on bank 128: (2, num_samples) float32; what comes before sample 0 is left out.

        A missing variation is played by the programme that it varies. Depends on the arguments alone.
        """
        kit = bank == 128
        if not self.has(bank, preset):
            bank, preset = (128, 0) if kit else (0, preset)
        if not self.has(bank, preset):
            raise ValueError(f"{self.path}: expected a General MIDI SoundFont, this one lacks {'drums' if kit else f'programme {preset}'}")
        if not hits:
            return np.zeros((2, num_samples), np.float32)
        self._synth.program_select(0, self._id, bank, preset, kit)
        first = min(0, min(on for on, _, _, _ in hits))
        audio = self._sound(_events(hits, num_samples), first, num_samples)
        self._synth.sounds_off(0)
        self._synth.generate_simple(_FLUSH)
        return audio[:, -first:]

    def _sound(self, events: list[tuple[int, int, int, int]], first: int, end: int) -> np.ndarray:
        audio = np.zeros((end - first, 2), np.float32)
        view = memoryview(audio).cast("B")
        at = first
        for when, _, key, velocity in events:
            if when > at:
                self._synth.generate_simple(when - at, view[8 * (at - first) : 8 * (when - first)])
                at = when
            if velocity:
                self._synth.noteon(0, key, velocity)
            else:
                self._synth.noteoff(0, key)
        if end > at:
            self._synth.generate_simple(end - at, view[8 * (at - first) :])
        return np.ascontiguousarray(audio.T)


def _events(hits: list[Hit], end: int) -> list[tuple[int, int, int, int]]:
    """(sample, 0 off or 1 on, key, velocity) in order; a key that is struck again is let go just before."""
    following: dict[int, int] = {}
    events = []
    for on, off, key, velocity in sorted(hits, reverse=True):
        if on >= end:
            continue
        off = min(max(off, on + 1), following.get(key, off + 1) - 1)
        if off > on:
            events += [(on, 1, key, velocity), (min(off, end), 0, key, 0)]
            following[key] = on
    return sorted(events)


@lru_cache(maxsize=2)
def load(path: str) -> Font:
    """The SoundFont of a file, loaded once a process."""
    return Font(path)
