"""Classifier-free guidance (Ho & Salimans, arXiv 2207.12598), for every process, and what keeps it from overdoing things.

A negative prompt is no case of its own: it is a condition in the place of the learned "no condition". Of `SamplingSettings`:

- `guidance`: the scale; 1 = none.
- `interval`: the times, both ends included, between which guidance is on (Kynkäänniemi et al., arXiv 2404.07724).
- `rescale`: phi of Lin et al., arXiv 2305.08891, equations 15 and 16: how far each item is brought back to the standard
  deviation of its conditional prediction, which high scales exceed.
- `apg`, `apg_norm`: adaptive projected guidance (Sadat et al., arXiv 2410.02416, section 3). Guidance changes the
  predicted data; what of the change is parallel to the data makes them louder and is taken out by the part `apg` (1 - eta
  of the paper), and a change of a root mean square above `apg_norm` (r of the paper, over the root of the number of
  values) is brought down to it. The paper's momentum is left out: it is a state over the steps, which windows of long
  pieces, whose rows come in any order, and inpainting, which goes back, do not have.
- `hold`: how far each channel of an item's guided data is brought back to the root mean square that it has in the data of
  its conditional prediction. Rescale and APG look at all channels at once, and do not see that one of them runs away, as
  the one that says how loud it is does in latents of log magnitudes.

Each of the last three looks at all frames of an item: in long pieces, of a window.

`HELD` is what holds guidance of 1 to 8 (docs/diffusion.md has the figures): of a model that says nothing of these, and, by
`settled`, of any where more guidance is asked for than the model's own settings are made for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mousai.diffusion.process import Process
from mousai.diffusion.samplers import Predict
from mousai.types import RowPredict, SamplingSettings

OFF = SamplingSettings(guidance=1.0, interval=(0.0, 1.0), rescale=0.0, apg=0.0, apg_norm=0.0, hold=0.0)  # where nothing is said
HELD = SamplingSettings(interval=(0.0, 1.0), rescale=0.0, apg=1.0, apg_norm=0.0, hold=1.0)
TEMPERS = tuple(HELD.said())

# (x (b, d, l), t (b,), which of the conditions each row has (b,), first frame of each row) -> the prediction (b, d, l)
PredictRows = Callable[[Tensor, Tensor, Tensor, Sequence[int]], Tensor]


def guided(process: Process, predict_rows: PredictRows, settings: SamplingSettings) -> RowPredict:
    """A `predict(x, t, item, negative, first)` under guidance for rows that differ in time and conditions, see `types.RowPredict`.

    `predict_rows(x, t, which, first)` predicts each row by the condition of number `which`. A row that is guided goes
    through it twice, in one pass with all others; where guidance is 1 or t outside its interval, once.
    """
    settings = settings.over(OFF)

    def predict(x: Tensor, t: Tensor, item: Tensor, negative: Tensor, first: Sequence[int]) -> Tensor:
        twice = torch.nonzero(is_guided(t, settings))[:, 0]
        if not len(twice):
            return predict_rows(x, t, item, first).to(x.dtype)
        rows = slice(None) if len(twice) == len(x) else twice.to(x.device)
        firsts = [*first, *(first[row] for row in twice.tolist())]
        found = predict_rows(torch.cat([x, x[rows]]), torch.cat([t, t[twice]]), torch.cat([item, negative[twice]]), firsts)
        cond, other = found.to(x.dtype).tensor_split([len(x)])
        result = mixed(process, settings, x[rows], t[twice], cond[rows], other)
        if len(twice) == len(x):
            return result
        cond[rows] = result
        return cond

    return predict


def settled(said: SamplingSettings, own: SamplingSettings) -> SamplingSettings:
    """The settings that are said over a model's own.

    Where more guidance is said than is the model's own, and neither says anything of what tempers it, it is tempered as in `HELD`. A
    model that has no such setting gets none.
    """
    settings = said.over(own)
    if said.guidance is None or own.guidance is None or said.guidance <= own.guidance or any(name in TEMPERS for name in said.said()):
        return settings
    tempered = any(getattr(own, name) not in (None, getattr(OFF, name)) for name in TEMPERS)
    return settings if tempered else replace(settings, **{name: getattr(HELD, name) for name in TEMPERS if getattr(own, name) is not None})


def for_sampler(predict_rows: RowPredict, item: Tensor, negative: Tensor) -> Predict:
    """A sampler's `predict(x, t)` for a batch whose rows are told `item` and `negative` and begin at frame 0."""
    return lambda x, t: predict_rows(x, t.expand(len(x)), item, negative, [0] * len(x))


def is_guided(t: Tensor, settings: SamplingSettings) -> Tensor:
    """For each of the float32 times whether guidance has a say."""
    low, high = settings.interval
    return (low <= t) & (t <= high) & (settings.guidance != 1.0)


def mixed(process: Process, settings: SamplingSettings, x: Tensor, t: Tensor, cond: Tensor, other: Tensor) -> Tensor:
    """other + guidance (cond - other) for x at `t (b,)`, as the settings, all of them said, temper it."""
    if settings.apg or settings.apg_norm:
        change = projected(process, x, t, cond, cond - other, settings.apg, settings.apg_norm)
        result = cond + (settings.guidance - 1) * change
    else:
        result = other + settings.guidance * (cond - other)
    if settings.hold:
        result = held(process, x, t, cond, result, settings.hold)
    return rescaled(result, cond, settings.rescale) if settings.rescale else result


def rescaled(mixed: Tensor, cond: Tensor, phi: float) -> Tensor:
    """`mixed` with each item's standard deviation moved by the part `phi` to that of `cond`; silence stays silence."""
    axes = tuple(range(1, mixed.ndim))
    std_cond = cond.std(axes, keepdim=True, correction=0)
    std_mixed = mixed.std(axes, keepdim=True, correction=0)
    factor = torch.where(std_mixed > 0, std_cond / std_mixed, torch.ones_like(std_mixed))
    return mixed * (phi * factor + (1 - phi))


def held(process: Process, x: Tensor, t: Tensor, cond: Tensor, guided: Tensor, part: float) -> Tensor:
    """A `guided` prediction such that each channel of its data has, as far as `part`, the root mean square of that of `cond`'s."""
    data = process.data(x, guided, t)
    wanted, found = (each.square().mean(-1, keepdim=True).sqrt() for each in (process.data(x, cond, t), data))
    factor = torch.where(found > 0, wanted / found, torch.ones_like(found))
    gain = torch.as_tensor(process.data_gain(x, t)).expand_as(data[:, :1, :1])
    change = part * (factor - 1) * data / torch.where(gain != 0, gain, torch.ones_like(gain))
    return guided + torch.where(gain != 0, change, torch.zeros_like(change))  # at t = 0 no prediction changes the data


def projected(process: Process, x: Tensor, t: Tensor, cond: Tensor, change: Tensor, apg: float, apg_norm: float) -> Tensor:
    """A change of the prediction `cond` such that the data it stands for change as APG has it.

    For one x the data follow linearly from the prediction, so that both change along the same direction.
    """
    axes = tuple(range(1, x.ndim))
    if apg_norm:
        norm = abs(process.data_gain(x, t)) * change.square().mean(axes, keepdim=True).sqrt()
        change = change * (apg_norm / norm.clamp(min=apg_norm))
    data = process.data(x, cond, t)
    power = data.square().sum(axes, keepdim=True)
    along = (change * data).sum(axes, keepdim=True) / torch.where(power > 0, power, torch.ones_like(power))
    return change - apg * along * data
