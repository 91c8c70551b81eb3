"""Text-conditioned latent diffusion: a v-objective 1D U-Net over a codec's latents (Moûsai, arXiv 2301.11757, section 3.3).

The condition's tokens are cross-attended at every depth; with probability `drop` an item is trained on a learned "no
condition" in their place, for classifier-free guidance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mousai.checks import check_name
from mousai.diffusion.guidance import guided, mixed
from mousai.diffusion.inpaint import inpaint
from mousai.diffusion.process import add_noise, v_target
from mousai.diffusion.samplers import V_SAMPLERS, Callback, sample
from mousai.diffusion.schedules import schedule
from mousai.networks.build import NetworkConfig, build_network
from mousai.networks.unet1d import UNet1dConfig
from mousai.randomness import randn, seeded_generators
from mousai.types import Condition, ConditionShape, RowPredict, SamplingSettings

OWN = SamplingSettings(
    steps=50, guidance=5.0, sampler="ddim", schedule="linear", eta=0.0, rescale=0.0, interval=(0.0, 1.0), resamples=5
)  # what a config does not say


@dataclass(frozen=True)
class LatentDiffusionConfig:
    unet: UNet1dConfig
    network: NetworkConfig = NetworkConfig()
    max_tokens: int = 64  # condition tokens, and length of the learned "no condition"
    drop: float = 0.1  # probability of "no condition" in training
    subtract_input: bool = False  # v is the network's output less x_t: the U-Net hands x_t on, v of unit variance begins at 0
    sample: SamplingSettings = OWN  # how to sample when nothing else is asked for

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample", self.sample.over(OWN))
        check_name("sample.sampler", self.sample.sampler, V_SAMPLERS)
        if self.max_tokens < 1 or not 0 <= self.drop < 1:
            raise ValueError(f"expected max_tokens >= 1 and 0 <= drop < 1, came {self.max_tokens} and {self.drop}")
        if not any(self.unet.cross_attentions):
            raise ValueError("unet.cross_attentions: a generator needs one at some depth to hear its condition")


class LatentDiffusion(nn.Module):
    def __init__(self, config: LatentDiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = build_network(config.network, config.unet)
        self.null = nn.Embedding(config.max_tokens, config.unet.embedding_features)

        self.latent_channels, self.frame_multiple = config.unet.in_channels, self.unet.total_factor
        self.accepts = ConditionShape(tokens=config.unet.embedding_features, max_tokens=config.max_tokens)
        self.sampling, self.samplers = config.sample, tuple(V_SAMPLERS)

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype of the U-Net, which does nearly all of the work."""
        self.unet.to(dtype)

    # -- training --------------------------------------------------------------------------------------------------

    def loss(
        self, latents: Tensor, condition: Condition, generator: torch.Generator, frames: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The v-objective for latents `(b, d, l)`; beyond the first `frames (b,)` of an item lies padding, not counted.

        Times, noise and dropped conditions come from `generator`, on the CPU.
        """
        b, _, length = latents.shape
        data = F.pad(latents, (0, -length % self.unet.total_factor))
        t = torch.rand(b, generator=generator).to(data.device)
        noise = torch.randn(data.shape, generator=generator).to(data)
        dropped = (torch.rand(b, generator=generator) < self.config.drop).to(data.device)
        condition = self._fit(condition, data)
        tokens = torch.where(dropped[:, None, None], self._null(b).to(data), condition.tokens)
        mask = condition.mask | dropped[:, None]
        predicted = self._network(add_noise(data, noise, t), t, tokens=tokens, mask=mask)
        error = (predicted.float() - v_target(data, noise, t)).square()[..., :length]
        real = torch.full((b,), length, device=data.device) if frames is None else frames.to(data.device)
        weight = (torch.arange(length, device=data.device) < real[:, None])[:, None].to(error)  # (b, 1, l)
        loss = (error * weight).sum() / (weight.sum() * error.shape[1])
        return loss, {"diffusion": loss.detach()}

    # -- use -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        condition: Condition,
        num_frames: int,
        *,
        seeds: list[int],
        negative: Condition | None = None,
        settings: SamplingSettings | None = None,
        init: Tensor | None = None,
        strength: float = 1.0,
        keep: Tensor | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Latents `(b, d, num_frames)` for a condition of b items; item i depends on its condition and `seeds[i]` alone.

        `negative` takes the place of "no condition". With `init` `(b, d, num_frames)`, sampling starts from it at
        time `strength` (1 = from noise alone); with boolean `keep` `(b or 1, 1, num_frames)`, True = known, that part
        of `init` stays as it is and the rest is made to fit. `callback(done, total)` counts steps.
        """
        settings = (settings or self.sampling).over(self.sampling)
        b = len(condition)
        if len(seeds) != b:
            raise ValueError(f"expected one seed an item, {b}; came {len(seeds)}")
        if init is not None and init.shape != (b, self.latent_channels, num_frames):
            raise ValueError(f"init: expected {(b, self.latent_channels, num_frames)}, came {tuple(init.shape)}")
        if not 0 < strength <= 1 or (init is None and (strength < 1 or keep is not None)):
            raise ValueError(f"strength is above 0 and at most 1, and less than 1, like keep, needs init; came {strength}")
        device = self.null.weight.device
        padding = -num_frames % self.unet.total_factor
        generators = seeded_generators(seeds)
        noise = randn((self.latent_channels, num_frames + padding), generators, device)
        times = schedule(settings.schedule, settings.steps, strength)
        predict = self._predictor(condition, negative, settings, times, noise)
        if keep is not None:
            data = F.pad(init.to(noise), (0, padding))
            known = F.pad(keep.to(device), (0, padding))
            extra = {"resamples": settings.resamples, "generators": generators}
            return inpaint(predict, noise, data, known, times, callback=callback, **extra)[..., :num_frames]
        start = noise
        if init is not None and strength < 1:
            start = add_noise(F.pad(init.to(noise), (0, padding), mode="replicate"), noise, times[0])
        extra = {"eta": settings.eta, "generators": generators if settings.eta else None}
        return sample(settings.sampler, predict, start, times, callback=callback, **extra)[..., :num_frames]

    def _predictor(self, condition: Condition, negative: Condition | None, settings: SamplingSettings, times: Tensor, like: Tensor):
        """`predict(x, t)` under guidance, everything that does not depend on x computed once."""
        b = len(condition)
        condition = self._fit(condition, like)
        tokens, mask = condition.tokens, condition.mask
        if settings.guidance != 1.0:
            other = self._fit(negative, like) if negative is not None else Condition(self._null(b).to(like), torch.ones_like(mask))
            tokens, mask = torch.cat([tokens, other.tokens]), torch.cat([mask, other.mask])
        cache = self.unet.cache(times[:-1], tokens, mask)
        alone = cache[:b]
        return guided(
            lambda xx, t: self._network(xx, t, cache=cache),
            lambda x, t: self._network(x, t, cache=alone),
            settings.guidance,
            interval=settings.interval,
            rescale=settings.rescale,
        )

    def predictor(self, conditions: Sequence[Condition | None], settings: SamplingSettings, times: Tensor) -> RowPredict:
        """v under guidance for rows that differ in time and condition, as in long pieces: see `types.Generator`."""
        settings = settings.over(self.sampling)
        like = self.null.weight
        null = Condition(self._null(1).to(like), torch.ones(1, self.config.max_tokens, dtype=torch.bool, device=like.device))
        fitted = [null if each is None else self._fit(each, like) for each in conditions]
        tokens, mask = torch.cat([each.tokens for each in fitted]), torch.cat([each.mask for each in fitted])
        cache, (low, high) = self.unet.cache(times[:-1], tokens, mask), settings.interval

        def predict(x: Tensor, t: Tensor, item: Tensor, negative: Tensor, first: Sequence[int]) -> Tensor:
            twice = torch.nonzero((low <= t) & (t <= high) & (settings.guidance != 1.0))[:, 0]
            which, rows = torch.cat([item, negative[twice]]).to(like.device), twice.to(x.device)
            v = self._network(torch.cat([x, x[rows]]), torch.cat([t, t[twice]]), cache=cache[which]).to(x.dtype)
            cond, other = v[: len(x)], v[len(x) :]
            if len(twice):
                cond[rows] = mixed(cond[rows], other, settings.guidance, settings.rescale)
            return cond

        return predict

    def _network(self, x: Tensor, t: Tensor, **condition: object) -> Tensor:
        v = self.unet(x, t, **condition)
        return v - x if self.config.subtract_input else v

    def _null(self, b: int) -> Tensor:
        return self.null.weight.expand(b, -1, -1)

    def _fit(self, condition: Condition, like: Tensor) -> Condition:
        """The condition on `like`'s device with exactly `max_tokens` tokens, the added ones masked out."""
        b, n, features = condition.tokens.shape
        limit = self.config.max_tokens
        if n > limit or features != self.config.unet.embedding_features:
            expected = f"(b, at most {limit}, {self.config.unet.embedding_features})"
            raise ValueError(f"expected condition tokens {expected}, came {tuple(condition.tokens.shape)}")
        condition = condition.to(like.device, like.dtype)
        return replace(
            condition,
            tokens=F.pad(condition.tokens, (0, 0, 0, limit - n)),
            mask=F.pad(condition.mask, (0, limit - n)),
        )
