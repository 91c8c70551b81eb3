"""Beats and downbeats by beat_this (Foscarin et al., "Beat this! Accurate beat tracking without DBN postprocessing", ISMIR 2024).

The package `beat_this` is an extra and brings no weights: whoever has a checkpoint gives its file, and nothing is fetched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from mousai.audio.beats import FEWEST, LONGEST_GAP, Array, Beats
from mousai.audio.key import RATE
from mousai.checks import extra

BARS = (2, 3, 4)  # beats of a bar that have a name here
FPS = 50  # of its network: beats lie on whole frames
STEADY = 0.6 / FPS  # seconds, root mean square, off a steady grid: whole frames alone make 0.29 / FPS


@lru_cache(maxsize=1)
def tracker(checkpoint: Path) -> Callable[[Tensor], Beats | None]:
    """What hears the beats of audio `(s,)` at `RATE` by the weights of a file; ValueError or FileNotFoundError in one line."""
    inference = extra("beat_this", "--beat-this", name="beat-this", module="beat_this.inference")
    if not checkpoint.is_file():  # a name is one that it would download
        raise FileNotFoundError(f"--beat-this: no such file: {checkpoint}; expected a checkpoint of beat_this, such as final0.ckpt, fetched beforehand")
    try:
        hear = inference.Audio2Beats(str(checkpoint))
    except Exception as error:  # whatever a file that is none raises
        line = (str(error).splitlines() or [""])[0]
        raise ValueError(f"--beat-this: {checkpoint} is no checkpoint of beat_this ({type(error).__name__}: {line[:120]})") from error
    return lambda audio: beats_of(*hear(audio.numpy(), RATE))


def beats_of(times: Array, downbeats: Array) -> Beats | None:
    """What beats and downbeats in seconds come to; None for too few beats, or with holes between them."""
    if len(times) < FEWEST or np.diff(times).max() > LONGEST_GAP:
        return None
    spaces = np.diff(times)
    number = np.cumsum(np.r_[0, np.round(spaces / np.median(spaces))])
    period, first = np.polyfit(number, times, 1)
    steady = float(np.sqrt(np.mean((times - first - period * number) ** 2))) <= STEADY
    if steady:
        times = first + period * np.arange(number[-1] + 1)
    bars, begins, sure = bars_of(np.abs(times[:, None] - downbeats[None]).argmin(0) if len(downbeats) else np.array([], dtype=int))
    bpm = 60 / (period if steady else float(np.median(spaces)))
    return Beats(tuple(float(round(time, 4)) for time in times), float(bpm), steady, 1.0, bars, begins, False, sure, tracked=True)


def bars_of(indices: Array) -> tuple[int, int, float]:
    """Beats of a bar, which of the beats begins the first whole one, and the share of downbeats that agree, of their numbers among the beats."""
    lengths = Counter(int(length) for length in np.diff(indices) if length in BARS)
    if not lengths:
        return 4, 0, 0.0
    bars = lengths.most_common(1)[0][0]
    begins, agreeing = Counter(int(index) % bars for index in indices).most_common(1)[0]
    return bars, begins, agreeing / len(indices)
