"""Phases for magnitudes.

They begin as phase gradient heap integration (PGHI; Průša, Balazs and Søndergaard, IEEE/ACM TASLP 25, 2017) would have
them: the log magnitudes of a Hann window, nearly a Gaussian one, say how phase changes along time and along frequency.
In place of the heap each frame follows the one before it at the peaks of its spectrum, and along frequency from these to
all else, which is one gather a frame. Then come a few iterations of the fast Griffin-Lim algorithm (Perraudin, Balazs and
Søndergaard, WASPAA 2013). Magnitudes of a long window smear attacks over it; the levels that the fast path has of every
band, put on while phases are sought, sharpen them.

Phases are those at the middle of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mousai.codecs.magnitude.features import Features, istft, power, stft

MOMENTUM = 0.99
GAIN_RANGE = 2.5  # nepers by which a band is raised or lowered at a time
TOLERANCE = 0.1  # nepers by which a band may be off for a moment: gains that come and go by less would roughen its tones
MOMENT = 4  # frames of the slow path over which a band must be right
EXCESS = 0.3  # nepers by which levels may make a frame louder than its magnitudes; of encoded music nine frames in ten are below 0.4
LARGEST = 8.0  # log magnitude
GAUSSIAN = 0.25645  # a Hann window of n samples is nearly a Gaussian with gamma = this times n^2 (PGHI, table I)
AT_PEAKS = 1.07  # where phases go on in time, at peaks, a Hann window's log magnitude is flatter than that by this
SURER = 1.0  # nepers by which the past of a bin must be louder than its neighbours for it to be followed there


def audio_of(features: Features, log_magnitude: Tensor, levels: Tensor, phases: Tensor, iterations: int) -> Tensor:
    """Audio `(n, s)` with the magnitudes `(n, n_fft // 2 + 1, l)` and the band levels `(n, bands, l * sub)`.

    It begins with `phases (n, n_fft // 2 + 1, l)`; levels are put on after every iteration. Where a generator's latents have
    levels that are far above their magnitudes, an attack would be a click: then magnitudes have the say.
    """
    config, window = features.config, features.window
    magnitude, before = log_magnitude.clamp(max=LARGEST).exp(), None
    turn = math.pi * torch.arange(magnitude.shape[1], device=phases.device)[:, None]  # from a frame's middle to its beginning
    x = istft(torch.polar(magnitude, phases + turn), config.n_fft, config.hop, window)
    for _ in range(iterations):
        spectrum = stft(x, config.n_fft, config.hop, window)
        ahead = spectrum if before is None else spectrum + MOMENTUM * (spectrum - before)
        before = spectrum
        x = istft(ahead * (magnitude * power(ahead).clamp(min=1e-18).rsqrt()), config.n_fft, config.hop, window)
        x = levelled(features, x, levels)
    return limited(features, x, magnitude) if iterations else x


def levelled(features: Features, audio: Tensor, levels: Tensor) -> Tensor:
    """Audio `(n, s)` with its bands brought near `levels (n, bands, l * sub)`."""
    config = features.config
    spectrum = stft(audio, config.fast_n_fft, config.fast_hop, features.fast_window)
    gain = levels - features.band_levels(spectrum)
    half = MOMENT * config.sub // 2
    lasting = F.avg_pool1d(gain, 2 * half + 1, 1, half, count_include_pad=False)
    gain = (lasting + F.softshrink(gain - lasting, TOLERANCE)).clamp(-GAIN_RANGE, GAIN_RANGE)
    return istft(spectrum * (features.spread.T @ gain).exp(), config.fast_n_fft, config.fast_hop, features.fast_window)


def limited(features: Features, audio: Tensor, magnitude: Tensor) -> Tensor:
    """Audio `(n, s)` whose frames are louder than their magnitudes `(n, bins, l)` by `EXCESS` at most."""
    config = features.config
    spectrum = stft(audio, config.n_fft, config.hop, features.window)
    louder = (power(spectrum).sum(1, keepdim=True) / magnitude.square().sum(1, keepdim=True).clamp(min=1e-18)).clamp(min=1e-18).log() / 2
    return istft(spectrum * (EXCESS - louder).clamp(max=0).exp(), config.n_fft, config.hop, features.window)


def anchored(log_magnitude: Tensor, n_fft: int, hop: int, anchors: Sequence[int], first: Sequence[Tensor]) -> Tensor:
    """Phases `(n, bins, l)` that are as told at one or two frames, the `anchors`, and follow from there.

    At anchor i the peaks of the spectrum have the phases `first[i] (n, bins)`. Between two anchors phases follow from the
    first one, and what they miss at the second is made up for little by little on the way: a partial is out of tune by
    less than half a turn over the whole. So windows that share an anchor have the same phases around it.
    """
    level = log_magnitude.transpose(1, 2).contiguous()  # (n, l, bins): what follows looks at a frame's neighbouring bins
    along_time, along_frequency = gradients(level, n_fft, hop)
    across = along_frequency.cumsum(2)

    def integrate(begin: int, end: int, phase: Tensor) -> tuple[Tensor, Tensor]:
        """From frame `begin` to frame `end`, both included, in either direction; in order of time."""
        parts = [x[:, min(begin, end) : max(begin, end) + 1] for x in (level, along_time, across)]
        if begin <= end:
            return integrated(*parts, phase)
        back = integrated(parts[0].flip(1), -parts[1].flip(1), parts[2].flip(1), phase)
        return back[0].flip(1), back[1].flip(1)

    start, stop = anchors[0], anchors[-1]
    middle, parents = integrate(start, stop, first[0])
    if start < stop:
        middle = bent(middle, integrate(stop, start, first[-1])[0], parents)
    before, _ = integrate(start, 0, first[0])
    after, _ = integrate(stop, level.shape[1] - 1, first[-1])
    return torch.cat([before[:, :-1], middle, after[:, 1:]], dim=1).transpose(1, 2)


def integrated(level: Tensor, along_time: Tensor, across: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Phases `(n, l, bins)` from those of the first frame's peaks `(n, bins)`, and each bin's parent `(n, l, bins)`.

    `level` has the log magnitudes, `along_time` the change from a frame to the next, `across` the phase over frequency
    within a frame. A parent is the bin at whose place a bin's phase is taken over from the frame before.
    """
    parents = followed(level)
    offset = across - across.gather(2, parents)
    offset[:, 1:] += ((along_time[:, 1:] + along_time[:, :-1]) / 2).gather(2, parents[:, 1:])
    phase, phases = first, []
    for parent, change in zip(parents.unbind(1), offset.unbind(1)):
        phase = phase.gather(1, parent) + change
        phases.append(phase)
    return torch.stack(phases, dim=1), parents


def gradients(level: Tensor, n_fft: int, hop: int) -> tuple[Tensor, Tensor]:
    """The change of phase from a frame to the next, and from the bin below to each bin, of `(n, l, bins)`; in radians."""
    gamma = GAUSSIAN * n_fft * n_fft
    bins = torch.arange(level.shape[2], device=level.device)
    along_time = AT_PEAKS * hop * n_fft / gamma * slope(level, 2) + 2 * math.pi * hop / n_fft * bins
    along_frequency = -gamma / (hop * n_fft) * slope(level, 1)
    step = (along_frequency + along_frequency.roll(1, 2)) / 2
    step[..., 0] = 0
    return along_time, step


def slope(x: Tensor, axis: int) -> Tensor:
    """The central difference of `x` along an axis, at its ends that to the one neighbour halved."""
    padded = torch.cat([x.narrow(axis, 0, 1), x, x.narrow(axis, x.shape[axis] - 1, 1)], dim=axis)
    return (padded.narrow(axis, 2, x.shape[axis]) - padded.narrow(axis, 0, x.shape[axis])) / 2


def followed(level: Tensor) -> Tensor:
    """For each bin of `(n, l, bins)` the bin of its frame whose past it follows: itself at a peak, else uphill from it."""
    bins = level.shape[2]
    lowest = torch.full_like(level[..., :1], -math.inf)
    below, above = torch.cat([lowest, level[..., :-1]], dim=2), torch.cat([level[..., 1:], lowest], dim=2)
    past = torch.cat([level[:, :1], level[:, :-1]], dim=1)
    own = ((level > below) & (level >= above)) | (past - SURER >= torch.maximum(below, above))
    index = torch.arange(bins, device=level.device).expand_as(level)
    down = torch.where(own, index, 0).cummax(2).values
    up = bins - 1 - torch.where(own, bins - 1 - index, 0).flip(2).cummax(2).values.flip(2)
    return torch.where(own, index, torch.where(below >= above, down, up))


def bent(phases: Tensor, target: Tensor, parents: Tensor) -> Tensor:
    """`phases (n, l, bins)` turned little by little, so that those of the last frame are `target`'s.

    The difference is followed from parent to bin, so that all bins of a partial turn the same way.
    """
    missing = target - phases
    turned, turns = torch.zeros_like(missing[:, 0]), []
    for index, (parent, wanted) in enumerate(zip(parents.unbind(1), missing.unbind(1))):
        turned = turned.gather(1, parent) if index else turned
        turned = turned + torch.remainder(wanted - turned + math.pi, 2 * math.pi) - math.pi
        turns.append(turned)
    share = torch.linspace(0, 1, phases.shape[1], device=phases.device)[:, None]
    return phases + share * torch.stack(turns, dim=1)
