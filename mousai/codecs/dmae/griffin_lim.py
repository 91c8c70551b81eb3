"""Phases for the envelope prior's noise, by Griffin-Lim.

Noise with a tone's envelope is a rough tone. Making the phases of neighbouring frames agree, with the magnitudes that
the prior says, gives a smooth one: a better place for a small decoder to start from.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from mousai.audio.griffin_lim import griffin_lim
from mousai.networks.transforms import mid_side

WINDOW_LEVEL = 0.5 * math.log(3 / 8)  # log of a Hann window's root mean square


def consistent(audio: Tensor, log_scale: Tensor, iterations: int) -> Tensor:
    """Audio `(b, c, l * bands)` with the STFT magnitudes of noise of scale `exp(log_scale)`, `(b, c * bands, l)`.

    Phases start as those of `audio`.
    """
    items, channels = audio.shape[:2]
    bands = log_scale.shape[1] // channels
    n_fft = 4 * bands
    level = (log_scale.float() + WINDOW_LEVEL).exp() * math.sqrt(n_fft)
    magnitude = level.unflatten(1, (channels, bands)).flatten(0, 1).repeat_interleave(2, dim=1)
    magnitude = F.pad(magnitude, (0, 1, 0, 1), mode="replicate")  # (b c, 2 bands + 1, l + 1)
    start = mid_side(audio.float()).flatten(0, 1)  # (b c, s)
    return mid_side(griffin_lim(start, magnitude, n_fft, bands, iterations).unflatten(0, (items, channels)))
