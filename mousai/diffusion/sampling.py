"""What is between a generator's network and its `sample`: schedule, start, audio-to-audio, inpainting, sampler.

A generator that has `predictor` is sampled by `sample_latents`, whatever its process and its network are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mousai.diffusion.guidance import OFF, for_sampler
from mousai.diffusion.inpaint import inpaint
from mousai.diffusion.samplers import sample
from mousai.diffusion.schedules import schedule
from mousai.randomness import randn, seeded_generators
from mousai.types import Callback, Condition, Generator, SamplingSettings

PLAIN = SamplingSettings(steps=50, sampler="ddim", schedule="linear", eta=0.0, resamples=5).over(OFF)  # where nothing is said


@torch.no_grad()
def sample_latents(
    generator: Generator,
    condition: Condition,
    num_frames: int,
    *,
    seeds: Sequence[int],
    negative: Condition | None = None,
    settings: SamplingSettings | None = None,
    init: Tensor | None = None,
    strength: float = 1.0,
    keep: Tensor | None = None,
    callback: Callback | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """`Generator.sample` by its `predictor`: latents `(b, d, num_frames)` on `device`, where the network is.

    Item i depends on its condition and `seeds[i]` alone. What neither `settings` nor the generator's own say is `PLAIN`. A sampler
    that is among the generator's `own_samplers` (stochastic.py) brings its schedule.
    """
    settings = (settings or SamplingSettings()).over(generator.sampling).over(PLAIN)
    b, padding = len(condition), -num_frames % generator.frame_multiple
    check_start((b, generator.latent_channels, num_frames), seeds, init, strength, keep)
    generators = seeded_generators(seeds)
    noise = randn((generator.latent_channels, num_frames + padding), generators, device)
    own = getattr(generator, "own_samplers", {}).get(settings.sampler)
    times = own.times(settings.steps, strength, generator.process) if own else schedule(settings.schedule, settings.steps, strength, generator.process)
    predict = predict_for(generator, condition, negative, settings, times)
    if keep is not None:
        data, known = F.pad(init.to(noise), (0, padding)), F.pad(keep.to(device), (0, padding))
        more = {"resamples": settings.resamples, "generators": generators, "callback": callback}
        return inpaint(generator.process, predict, noise, data, known, times, **more)[..., :num_frames]
    start = noise
    if init is not None and strength < 1:
        start = generator.process.add_noise(F.pad(init.to(noise), (0, padding), mode="replicate"), noise, times[0])
    if own:
        return own.run(generator.process, predict, start, times, generators=generators, callback=callback)[..., :num_frames]
    more = {"eta": settings.eta, "generators": generators if settings.eta else None, "callback": callback}
    return sample(settings.sampler, generator.process, predict, start, times, **more)[..., :num_frames]


def predict_for(generator: Generator, condition: Condition, negative: Condition | None, settings: SamplingSettings, times: Tensor):
    """The sampler's `predict(x, t)` for the b items of a condition, each against its negative one or "no condition"."""
    conditions = [condition[index : index + 1] for index in range(len(condition))]
    item = other = torch.arange(len(conditions))
    if settings.guidance != 1.0:
        other = item + len(conditions)
        conditions += [None if negative is None else negative[index : index + 1] for index in range(len(conditions))]
    return for_sampler(generator.predictor(conditions, settings, times), item, other)


def check_start(shape: tuple[int, int, int], seeds: Sequence[int], init: Tensor | None, strength: float, keep: Tensor | None) -> None:
    """ValueError unless there is a seed for each item, and an `init` of that shape for whatever needs one."""
    if len(seeds) != shape[0]:
        raise ValueError(f"expected one seed an item, {shape[0]}; came {len(seeds)}")
    if init is not None and init.shape != shape:
        raise ValueError(f"init: expected {shape}, came {tuple(init.shape)}")
    if not 0 < strength <= 1 or (init is None and (strength < 1 or keep is not None)):
        raise ValueError(f"strength is above 0 and at most 1, and less than 1, like keep, needs init; came {strength}")
