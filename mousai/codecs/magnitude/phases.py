"""Phases for magnitudes: the fast Griffin-Lim algorithm (Perraudin, Balazs and Søndergaard, WASPAA 2013).

Magnitudes of a long window smear attacks over it. The levels that the fast path has of every band, put on again and
again while phases are sought, sharpen them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mousai.codecs.magnitude.features import Features, istft, stft

MOMENTUM = 0.99
GAIN_RANGE = 2.5  # nepers by which a band is raised or lowered at a time
LARGEST = 8.0  # log magnitude


def audio_of(features: Features, log_magnitude: Tensor, levels: Tensor, start: Tensor, iterations: int, every: int = 2) -> Tensor:
    """Audio `(n, s)` with the magnitudes `(n, n_fft // 2 + 1, l)` and the band levels `(n, bands, l * sub)`.

    Phases begin as those of `start (n, s)`; the levels are put on in every `every`-th of the iterations and in the last.
    """
    config = features.config
    magnitude, x, before = log_magnitude.clamp(max=LARGEST).exp(), start, None
    for done in range(1, iterations + 1):
        spectrum = stft(x, config.n_fft, config.hop, features.window)
        ahead = spectrum if before is None else spectrum + MOMENTUM * (spectrum - before)
        before = spectrum
        x = istft(magnitude * ahead / ahead.abs().clamp(min=1e-9), config.n_fft, config.hop, features.window)
        if done % every == 0 or done == iterations:
            x = levelled(features, x, levels)
    return x


def levelled(features: Features, audio: Tensor, levels: Tensor) -> Tensor:
    """Audio `(n, s)` with its bands brought to `levels (n, bands, l * sub)`."""
    config = features.config
    spectrum = stft(audio, config.fast_n_fft, config.fast_hop, features.fast_window)
    gain = (levels - features.band_levels(spectrum)).clamp(-GAIN_RANGE, GAIN_RANGE)
    return istft(spectrum * (features.spread.T @ gain).exp(), config.fast_n_fft, config.fast_hop, features.fast_window)
