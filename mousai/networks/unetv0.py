"""audio-diffusion-pytorch's own `UNetV0`, on a-unet, behind the protocol of network.py.

It is what `UNet1d` was measured against, with the same weights to 1e-5. It computes everything anew in each step, holds
full attention matrices, and hears padding: it knows no mask, so tokens that are masked out are zeros, whatever they were,
and are attended to like others. Guidance is done outside it, in one batched pass.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mousai.networks.network import check_input
from mousai.networks.unet1d import UNet1dConfig, check_condition


@dataclass(frozen=True)
class UNetV0Cache:
    """What a `UNetV0` is told besides x and t, as it is: there is nothing that it could compute beforehand."""

    tokens: Tensor | None = None  # (b, n, e), zeros where they are masked out
    inject: dict[int, Tensor] | None = None

    def __getitem__(self, index: slice | Tensor) -> UNetV0Cache:
        tokens = None if self.tokens is None else self.tokens[index]
        return UNetV0Cache(tokens, {depth: value[index] for depth, value in (self.inject or {}).items()})

    def expand(self, b: int) -> UNetV0Cache:
        """What is told one item for b items."""
        tokens = None if self.tokens is None else self.tokens.expand(b, -1, -1)
        return UNetV0Cache(tokens, {depth: value.expand(b, -1, -1) for depth, value in (self.inject or {}).items()})


class UNetV0(nn.Module):
    """x_t `(b, in_channels, l)` and t to the prediction `(b, out_channels, l)`; l a multiple of `total_factor`."""

    def __init__(self, config: UNet1dConfig) -> None:
        from audio_diffusion_pytorch import UNetV0 as build

        super().__init__()
        self.config, self.total_factor = config, config.total_factor
        self.net = build(dim=1, in_channels=config.in_channels, **arguments(config))

    @property
    def dtype(self) -> torch.dtype:
        return self.net.blocks[2].net.block.blocks[0].block.weight.dtype

    def row_bytes(self, num_frames: int) -> int:
        """About the memory of a step for one row: a dozen times the widest depth, what waits for the way up, and the largest matrix of attention thrice."""
        config, widths = self.config, self.config.widths(num_frames)
        lengths = [-(-num_frames // config.depth_factor(depth)) for depth in range(len(widths)) if config.at("attentions", depth)]
        return (12 * max(widths) + 2 * sum(widths) + 3 * config.attention_heads * max(lengths, default=0) ** 2) * self.dtype.itemsize

    def cache(
        self, times: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None, inject: dict[int, Tensor] | None = None
    ) -> UNetV0Cache:
        """The condition that `forward` would be given, checked; any time will do."""
        check_condition(self.config, tokens, mask, inject)
        device, dtype = self.net.blocks[0].weights.device, self.dtype
        if tokens is not None:
            tokens = tokens.to(device, dtype) if mask is None else tokens.to(device, dtype) * mask[:, :, None].to(device)
        return UNetV0Cache(tokens, {depth: value.to(device, dtype) for depth, value in (inject or {}).items()})

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        *,
        tokens: Tensor | None = None,
        mask: Tensor | None = None,
        inject: dict[int, Tensor] | None = None,
        cache: UNetV0Cache | None = None,
    ) -> Tensor:
        """The prediction for x_t, in the dtype of `x`; see `network.Network`."""
        check_input(self.config.in_channels, self.total_factor, x, t)
        cache = self.cache(t, tokens, mask, inject) if cache is None else cache
        cache = cache.expand(len(x))
        channels = [cache.inject.get(depth) for depth in range(len(self.config.channels))]
        frames = x if torch.is_autocast_enabled(x.device.type) else x.to(self.dtype)
        # What `self.net` does with the time, but in float32 throughout: bfloat16 cannot tell neighbouring steps apart.
        embed, mlp, core = self.net.blocks
        with torch.autocast(x.device.type, enabled=False):
            features = mlp(F.gelu(embed(t.to(x.device, torch.float32).expand(len(x)))))
        return core(frames, features=features.to(self.dtype), embedding=cache.tokens, channels=channels).to(x.dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> UNetV0:
        super()._apply(fn, recurse)  # moves and casts
        for time in self.net.blocks[:2]:
            time.float()
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> UNetV0:
        """a-unet's blocks call one another through closures, so that a plain copy would run the original's weights."""
        with torch.device("meta"):
            other = UNetV0(self.config)
        memo[id(self)] = other
        other.to_empty(device=self.net.blocks[0].weights.device).to(self.dtype).train(self.training)
        other.load_state_dict(copy.deepcopy(self.state_dict()))
        for ours, theirs in zip(self.parameters(), other.parameters(), strict=True):
            theirs.requires_grad_(ours.requires_grad)
        return other


def arguments(config: UNet1dConfig) -> dict[str, Any]:
    """The shape `config` in the words of audio-diffusion-pytorch, but for `in_channels`; ValueError for what it has nothing like."""
    for name, only in (("resnet_kernel_size", 3), ("checkpointing", False)):
        if getattr(config, name) != only:
            raise ValueError(f"unet.{name}: audio-diffusion-pytorch's U-Net knows {only} alone, came {getattr(config, name)}")
    none = [0] * len(config.channels)
    return {
        "channels": list(config.channels), "factors": list(config.factors), "items": list(config.items),
        "attentions": list(config.attentions) or none, "cross_attentions": list(config.cross_attentions) or none,
        "context_channels": list(config.inject_channels) or none, "out_channels": config.out_channels or None,
        "attention_heads": config.attention_heads, "attention_features": config.attention_features,
        "embedding_features": config.embedding_features or None, "resnet_groups": config.resnet_groups,
        "modulation_features": config.modulation_features,
    }  # fmt: skip
