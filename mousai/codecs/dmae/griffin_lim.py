"""Phases for the envelope prior's noise, by the fast Griffin-Lim algorithm (Perraudin, Balazs and Søndergaard, WASPAA 2013).

Noise with a tone's envelope is a rough tone. Making the phases of neighbouring frames agree, with the magnitudes that
the prior says, gives a smooth one: a better place for a small decoder to start from.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mousai.networks.transforms import mid_side

MOMENTUM = 0.99
WINDOW_LEVEL = 0.5 * math.log(3 / 8)  # log of a Hann window's root mean square


def consistent(audio: Tensor, log_scale: Tensor, iterations: int) -> Tensor:
    """Audio `(b, c, l * bands)` with the STFT magnitudes of noise of scale `exp(log_scale)`, `(b, c * bands, l)`.

    Phases start as those of `audio`.
    """
    items, channels = audio.shape[:2]
    bands = log_scale.shape[1] // channels
    n_fft, length = 4 * bands, audio.shape[-1]
    window = torch.hann_window(n_fft, device=audio.device)
    level = (log_scale.float() + WINDOW_LEVEL).exp() * math.sqrt(n_fft)
    magnitude = level.unflatten(1, (channels, bands)).flatten(0, 1).repeat_interleave(2, dim=1)
    magnitude = F.pad(magnitude, (0, 1, 0, 1), mode="replicate")  # (b c, 2 bands + 1, l + 1)
    x, before = mid_side(audio.float()).flatten(0, 1), None
    for _ in range(iterations):
        spectrum = torch.stft(x, n_fft, bands, window=window, pad_mode="constant", return_complex=True)
        ahead = spectrum if before is None else spectrum + MOMENTUM * (spectrum - before)
        before = spectrum
        x = torch.istft(magnitude * ahead / ahead.abs().clamp(min=1e-9), n_fft, bands, window=window, length=length)
    return mid_side(x.unflatten(0, (items, channels)))
