"""Channel layouts and the standard downmix (ITU-R BS.775, annex 4: 0.7071 for centre and surrounds, no LFE)."""

from __future__ import annotations

import re

import torch
from torch import Tensor

HALF = 0.5**0.5
TO_STEREO = {  # gains into left and right by loudspeaker
    "FL": (1.0, 0.0), "FR": (0.0, 1.0), "FC": (HALF, HALF), "LFE": (0.0, 0.0),
    "BL": (HALF, 0.0), "BR": (0.0, HALF), "SL": (HALF, 0.0), "SR": (0.0, HALF),
    "BC": (0.5, 0.5), "FLC": (1.0, 0.0), "FRC": (0.0, 1.0),
}  # fmt: skip
MASK_BITS = ("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR")  # of WAVE_FORMAT_EXTENSIBLE
WAVE_LAYOUTS = {  # the usual order of WAV, FLAC and most others, by number of channels
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
VORBIS_LAYOUTS = {  # Vorbis I, 4.3.9; Opus mapping family 1 (RFC 7845, 5.1.1.2) has the same
    3: ("FL", "FC", "FR"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FC", "FR", "BL", "BR"),
    6: ("FL", "FC", "FR", "BL", "BR", "LFE"),
    7: ("FL", "FC", "FR", "SL", "SR", "BC", "LFE"),
    8: ("FL", "FC", "FR", "SL", "SR", "BL", "BR", "LFE"),
}


def channel_layout(format: str, channels: int, log: str) -> tuple[str, ...] | None:
    """The loudspeaker of each channel of a file, None where it is unknown; `log` is libsndfile's, which shows WAV masks."""
    if mask := re.search(r"Channel Mask *: 0x([0-9A-Fa-f]+)", log):
        bits = int(mask[1], 16)
        named = tuple(name for bit, name in enumerate(MASK_BITS) if bits >> bit & 1)
        if len(named) == channels and bits < 1 << len(MASK_BITS):
            return named
    return (VORBIS_LAYOUTS if format == "OGG" else WAVE_LAYOUTS).get(channels)


def remix(audio: Tensor, channels: int, layout: tuple[str, ...] | None = None) -> Tensor:
    """Audio `(..., c, s)` as `channels` channels.

    Mono becomes equal channels. More than two are mixed to two by their layout (by default WAV's for that number), at
    unchanged front level, so that peaks may pass 1; without a known layout even and odd channels are averaged. Stereo
    becomes mono by its mean. Raises ValueError for any other widening.
    """
    have = audio.shape[-2]
    if have == channels:
        return audio
    if have == 1:
        return audio.expand(*audio.shape[:-2], channels, audio.shape[-1])
    if channels > 2:
        raise ValueError(f"cannot make {channels} channels of {have}; use 1, 2 or the {have} that there are")
    if have > 2:
        audio = stereo_matrix(have, layout).to(audio) @ audio
    return audio if channels == 2 else audio.mean(-2, keepdim=True)


def stereo_matrix(channels: int, layout: tuple[str, ...] | None) -> Tensor:
    """The downmix of `channels` channels, `(2, channels)`."""
    layout = layout or WAVE_LAYOUTS.get(channels)
    if layout:
        return torch.tensor([TO_STEREO[name] for name in layout]).T
    left = torch.arange(channels) % 2 == 0
    return torch.stack([left / left.sum(), ~left / (~left).sum()])
