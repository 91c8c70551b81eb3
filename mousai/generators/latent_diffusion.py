"""Text-conditioned latent diffusion: a 1D U-Net over a codec's latents (Moûsai, arXiv 2301.11757, section 3.3).

It is trained for one of the processes of diffusion/process.py, Moûsai's own being `v`.

The condition's tokens are cross-attended at every depth; with probability `drop` an item is trained on a learned "no
condition" in their place, for classifier-free guidance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mousai.diffusion.guidance import guided
from mousai.diffusion.process import PROCESSES
from mousai.diffusion.samplers import SAMPLERS
from mousai.diffusion.sampling import PLAIN, sample_latents
from mousai.networks.build import NetworkConfig, build_network
from mousai.networks.unet1d import UNet1dConfig
from mousai.types import Callback, Condition, ConditionShape, RowPredict, SamplingSettings

OWN = replace(PLAIN, guidance=5.0)  # what a config does not say


@dataclass(frozen=True)
class LatentDiffusionConfig:
    unet: UNet1dConfig
    network: NetworkConfig = NetworkConfig()
    objective: Literal["v", "flow", "epsilon"] = "v"  # the process, see diffusion/process.py
    max_tokens: int = 64  # condition tokens, and length of the learned "no condition"
    drop: float = 0.1  # probability of "no condition" in training
    subtract_input: bool = False  # of objective v: v is the network's output less x_t: the U-Net hands x_t on, v of unit variance begins at 0
    sample: SamplingSettings = OWN  # how to sample when nothing else is asked for

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample", self.sample.over(OWN))
        if self.subtract_input and self.objective != "v":
            raise ValueError(f"subtract_input: belongs to objective v, came objective {self.objective}")
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
        self.sampling, self.samplers, self.process = config.sample, tuple(SAMPLERS), PROCESSES[config.objective]

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype of the U-Net, which does nearly all of the work."""
        self.unet.to(dtype)

    def compile(self) -> None:
        """`torch.compile` for the U-Net."""
        self.unet.compile()

    # -- training --------------------------------------------------------------------------------------------------

    def loss(
        self, latents: Tensor, condition: Condition, generator: torch.Generator, frames: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error of the prediction for latents `(b, d, l)`; beyond the first `frames (b,)` of an item lies padding, not counted.

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
        predicted = self._network(self.process.add_noise(data, noise, t), t, tokens=tokens, mask=mask)
        error = (predicted.float() - self.process.target(data, noise, t)).square()[..., :length]
        real = torch.full((b,), length, device=data.device) if frames is None else frames.to(data.device)
        weight = (torch.arange(length, device=data.device) < real[:, None])[:, None].to(error)  # (b, 1, l)
        loss = (error * weight).sum() / (weight.sum() * error.shape[1])
        return loss, {"diffusion": loss.detach()}

    # -- use -------------------------------------------------------------------------------------------------------

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
        """Latents `(b, d, num_frames)` for a condition of b items: see `types.Generator`."""
        return sample_latents(
            self, condition, num_frames, seeds=seeds, negative=negative, settings=settings, init=init, strength=strength,
            keep=keep, callback=callback, device=self.null.weight.device,
        )  # fmt: skip

    def predictor(self, conditions: Sequence[Condition | None], settings: SamplingSettings, times: Tensor) -> RowPredict:
        """The prediction under guidance for rows of any condition and time: see `types.Generator`."""
        like = self.null.weight
        null = Condition(self._null(1).to(like), torch.ones(1, self.config.max_tokens, dtype=torch.bool, device=like.device))
        fitted = [null if each is None else self._fit(each, like) for each in conditions]
        tokens, mask = torch.cat([each.tokens for each in fitted]), torch.cat([each.mask for each in fitted])
        cache = self.unet.cache(times[:-1], tokens, mask)

        def predict(x: Tensor, t: Tensor, which: Tensor, first: Sequence[int]) -> Tensor:
            return self._network(x, t, cache=cache[which.to(like.device)])

        return guided(self.process, predict, settings.over(self.sampling))

    def _network(self, x: Tensor, t: Tensor, **condition: object) -> Tensor:
        prediction = self.unet(x, t, **condition)
        return prediction - x if self.config.subtract_input else prediction

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
