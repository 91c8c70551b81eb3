"""The 1D U-Net of Moûsai (arXiv 2301.11757, appendix; the `UNetV0` of audio-diffusion-pytorch on a-unet).

Same architecture and parameters as there, so that released weights map (archinet.py), with what depends
only on t or only on the condition split off, so that sampling computes it once for a schedule or prompt (`UNet1d.cache`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mousai.networks.attention import CrossAttention, SelfAttention, token_mask
from mousai.networks.network import check_input
from mousai.networks.step_cache import Context, ModulationRows, StepCache
from mousai.networks.time_embedding import TimeEmbedding


@dataclass(frozen=True)
class UNet1dConfig:
    """Shape of a `UNet1d`; a depth is a level of the U, the tuples have one entry a depth."""

    in_channels: int
    channels: tuple[int, ...]
    factors: tuple[int, ...]  # by how much each depth shortens its input
    items: tuple[int, ...]  # items a depth, on the way down and again on the way up
    attentions: tuple[int, ...] = ()  # self-attentions an item; () = none
    cross_attentions: tuple[int, ...] = ()  # attentions to the condition tokens an item; () = none
    inject_channels: tuple[int, ...] = ()  # channels injected into every item of a depth; 0 or () = none
    attention_heads: int = 8
    attention_features: int = 64  # features a head
    embedding_features: int = 0  # features of the condition tokens
    resnet_groups: int = 8
    modulation_features: int = 1024
    out_channels: int = 0  # 0 = in_channels
    resnet_kernel_size: int = 3
    checkpointing: bool = False  # recompute each item in the backward pass: less memory, about a third more time

    def __post_init__(self) -> None:
        depths = len(self.channels)
        if depths == 0:
            raise ValueError("channels: expected at least one depth, came ()")
        for name in ("factors", "items", "attentions", "cross_attentions", "inject_channels"):
            values = getattr(self, name)
            optional = name not in ("factors", "items")
            if len(values) != depths and not (optional and len(values) == 0):
                raise ValueError(f"{name}: expected {depths} entries, one for each of channels, came {len(values)}")
            low = 1 if name == "factors" else 0
            if any(value < low for value in values):
                raise ValueError(f"{name}: expected entries of at least {low}, came {values}")
        for name in ("in_channels", "attention_heads", "attention_features", "resnet_groups", "modulation_features"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, came {getattr(self, name)}")
        if any(channels < 1 or channels % self.resnet_groups for channels in self.channels):
            raise ValueError(f"channels: expected multiples of resnet_groups = {self.resnet_groups}, came {self.channels}")
        if any(self.cross_attentions) and self.embedding_features < 1:
            raise ValueError("embedding_features: cross_attentions need the condition tokens' feature count, came 0")
        if self.out_channels < 0:
            raise ValueError(f"out_channels: expected at least 0 (0 = in_channels), came {self.out_channels}")
        if self.resnet_kernel_size < 1 or self.resnet_kernel_size % 2 == 0:
            raise ValueError(f"resnet_kernel_size: expected an odd number, came {self.resnet_kernel_size}")

    @property
    def total_factor(self) -> int:
        """Frames that one frame at the deepest depth stands for."""
        return prod(self.factors)

    def depth_factor(self, depth: int) -> int:
        """How many frames of x one frame at `depth` stands for: an injection there has l / depth_factor frames."""
        return prod(self.factors[: depth + 1])

    def widths(self, num_frames: int) -> list[int]:
        """How many numbers of each depth a row of so many frames has."""
        return [channels * -(-num_frames // self.depth_factor(depth)) for depth, channels in enumerate(self.channels)]

    def at(self, name: str, depth: int) -> int:
        """The entry of an optional tuple at `depth`, 0 where the tuple is empty."""
        values = getattr(self, name)
        return values[depth] if values else 0


def check_condition(config: UNet1dConfig, tokens: Tensor | None, mask: Tensor | None, inject: dict[int, Tensor] | None) -> None:
    """ValueError unless a network of this shape can be told this."""
    if any(config.cross_attentions) and tokens is None:
        raise ValueError("this network attends to condition tokens: expected tokens (b, n, e), came None")
    if tokens is not None and tokens.shape[-1] != config.embedding_features:
        raise ValueError(f"expected tokens of {config.embedding_features} features, came {tuple(tokens.shape)}")
    if mask is not None and (mask.dtype != torch.bool or tokens is None or mask.shape != tokens.shape[:2]):
        expected = None if tokens is None else tuple(tokens.shape[:2])
        raise ValueError(f"expected a boolean mask of shape {expected}, came {mask.dtype} {tuple(mask.shape)}")
    wanted = {depth: channels for depth, channels in enumerate(config.inject_channels) if channels}
    came = {depth: value.shape[1] for depth, value in (inject or {}).items()}
    if came != wanted:
        raise ValueError(f"expected an injection with these channels at these depths: {wanted}, came {came}")


class Item(nn.Module):
    """Resnet block, modulation by t, injection, attention, cross-attention, at one depth.

    `slots` says where its modulation, its keys and values and its injection begin in a prepared `Context`.
    """

    def __init__(self, config: UNet1dConfig, depth: int, slots: dict[str, int]) -> None:
        super().__init__()
        channels = config.channels[depth]
        heads, head_features = config.attention_heads, config.attention_features
        kernel = dict(kernel_size=config.resnet_kernel_size, padding=config.resnet_kernel_size // 2)
        self.depth, self.slots = depth, slots
        self.norm1 = nn.GroupNorm(config.resnet_groups, channels)
        self.conv1 = nn.Conv1d(channels, channels, **kernel)
        self.norm2 = nn.GroupNorm(config.resnet_groups, channels)
        self.conv2 = nn.Conv1d(channels, channels, **kernel)
        self.modulation = nn.Linear(config.modulation_features, 2 * channels)
        inject = config.at("inject_channels", depth)
        self.inject = nn.Linear(channels + inject, channels) if inject else None
        self.attentions = nn.ModuleList(
            SelfAttention(channels, heads, head_features) for _ in range(config.at("attentions", depth))
        )
        self.cross_attentions = nn.ModuleList(
            CrossAttention(channels, heads, head_features, config.embedding_features)
            for _ in range(config.at("cross_attentions", depth))
        )

    def next_slots(self) -> dict[str, int]:
        """Where the slots of the item after this one begin."""
        taken = dict(row=self.modulation.out_features, keys_values=len(self.cross_attentions), injected=int(self.inject is not None))
        return {name: start + taken[name] for name, start in self.slots.items()}

    def project_inject(self, inject: dict[int, Tensor]) -> Tensor:
        """What the injected `(b, d, l)` adds to this item's frames, `(b, channels, l)`."""
        return F.conv1d(inject[self.depth], self.inject.weight[:, self.inject.out_features :, None], self.inject.bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        inplace = not torch.is_grad_enabled()
        h = self.conv1(F.silu(self.norm1(x), inplace=inplace))
        x = x + self.conv2(F.silu(self.norm2(h), inplace=inplace))

        scale, shift = context.modulation(self.modulation, self.slots["row"])[:, :, None].chunk(2, dim=1)
        x = modulate(x, scale, shift)
        if self.inject is not None:
            prepared = context.injected
            added = self.project_inject(context.inject) if prepared is None else prepared[self.slots["injected"]]
            x = x + F.conv1d(x, self.inject.weight[:, : self.inject.out_features, None]) + added
        return self.attend(x, context) if self.attentions or self.cross_attentions else x

    def attend(self, x: Tensor, context: Context) -> Tensor:
        x = x.transpose(1, 2).contiguous()  # (b, l, d)
        for attention in self.attentions:
            x = attention(x)
        for index, attention in enumerate(self.cross_attentions):
            prepared = context.keys_values
            slot = self.slots["keys_values"] + index
            x = attention(x, attention.project(context.tokens) if prepared is None else prepared[slot], context.mask)
        return x.transpose(1, 2).contiguous()  # (b, d, l)


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Layer norm of `x (b, d, l)` over its channels, times 1 + `scale`, plus `shift`, both `(b | 1, d, 1)`.

    Statistics in float32. The channels stay where they are: on a CPU moving them to the last axis for
    `F.layer_norm` and back takes ten times as long as all of this.
    """
    centred = x.float()
    centred = centred - centred.mean(1, keepdim=True)
    deviation = (centred.square().mean(1, keepdim=True) + 1e-6).rsqrt()
    return torch.addcmul(shift, (centred * deviation).to(x.dtype), 1 + scale)


class Level(nn.Module):
    """One depth of the U: shortened, items, [the deeper levels], items, lengthened, merged with its own input."""

    def __init__(self, config: UNet1dConfig, depth: int) -> None:
        super().__init__()
        channels, factor = config.channels[depth], config.factors[depth]
        in_channels = config.channels[depth - 1] if depth else config.in_channels
        out_channels = in_channels if depth else (config.out_channels or config.in_channels)
        self.factor = factor
        self.skip_adapter = nn.Conv1d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        self.down = nn.Conv1d(in_channels, channels, factor, stride=factor)
        self.items_down, self.items_up = nn.ModuleList(), nn.ModuleList()
        self.up = nn.Conv1d(channels, out_channels, 3, padding=1)
        self.skip = nn.Linear(config.modulation_features, out_channels)
        self.skip_slot = 0

    def lengthen(self, x: Tensor) -> Tensor:
        return self.up(x if self.factor == 1 else F.interpolate(x, scale_factor=float(self.factor), mode="nearest"))


class UNet1d(nn.Module):
    """x_t `(b, in_channels, l)` and t to the prediction `(b, out_channels, l)`; l a multiple of `total_factor`."""

    def __init__(self, config: UNet1dConfig) -> None:
        super().__init__()
        self.config = config
        self.total_factor = config.total_factor
        self.time = TimeEmbedding(config.modulation_features)
        depths = range(len(config.channels))
        self.levels = nn.ModuleList(Level(config, depth) for depth in depths)
        slots = dict(row=0, keys_values=0, injected=0)
        for depth in depths:
            slots = self.extend(self.levels[depth].items_down, depth, slots)
        for depth in reversed(depths):
            level = self.levels[depth]
            slots = self.extend(level.items_up, depth, slots)
            level.skip_slot = slots["row"]
            slots = {**slots, "row": slots["row"] + level.skip.out_features}
        self.table_width = slots["row"]
        self.run = UNet1d.body

    def extend(self, items: nn.ModuleList, depth: int, slots: dict[str, int]) -> dict[str, int]:
        """Appends the items of one side of `depth`, the first with `slots`; returns where the slots after them begin."""
        for _ in range(self.config.items[depth]):
            items.append(Item(self.config, depth, slots))
            slots = items[-1].next_slots()
        return slots

    @property
    def dtype(self) -> torch.dtype:
        return self.levels[0].down.weight.dtype

    def row_bytes(self, num_frames: int) -> int:
        """About the memory of a step for one row: 16 times the widest depth, and what waits for the way up."""
        widths = self.config.widths(num_frames)
        return (16 * max(widths) + 2 * sum(widths)) * self.dtype.itemsize

    def items(self) -> list[Item]:
        """Every item in the order in which x goes through them."""
        down = [item for level in self.levels for item in level.items_down]
        return down + [item for level in reversed(self.levels) for item in level.items_up]

    def hand_on(self) -> None:
        """Lets the outermost skip hand on the first `out_channels` of x as they are, as it does where there are no others."""
        adapter = self.levels[0].skip_adapter
        if isinstance(adapter, nn.Conv1d):
            nn.init.dirac_(adapter.weight)
            nn.init.zeros_(adapter.bias)

    def compile(self, **options: object) -> None:
        """`torch.compile` for what runs in every step; schedules, prompts and lengths then change without compiling again.

        One item and several are two programs, and so are other numbers of rows that guidance or windows make of them.
        """
        self.run = torch.compile(UNet1d.body, **{"dynamic": True} | options)  # unbound: a deep copy runs its own weights

    def cache(
        self,
        times: Tensor,
        tokens: Tensor | None = None,
        mask: Tensor | None = None,
        inject: dict[int, Tensor] | None = None,
    ) -> StepCache:
        """Everything that does not depend on x, for `times (steps,)` and the condition that `forward` would be given."""
        times = times.detach().to(torch.float32)
        context = self.context(times[:1].to(self.time.weights.device), tokens, mask, inject)
        items = self.items()
        layers = {item.slots["row"]: item.modulation for item in items}
        layers |= {level.skip_slot: level.skip for level in self.levels}
        prepared = Context(
            mask=context.mask,
            inject=context.inject,
            keys_values=[layer.project(context.tokens) for item in items for layer in item.cross_attentions],
            injected=[item.project_inject(context.inject) for item in items if item.inject is not None],
        )

        def rows(times: Tensor) -> Tensor:
            time = self.time(times.to(self.time.weights.device)).to(self.dtype)
            return torch.cat([layers[start](time) for start in sorted(layers)], dim=-1)  # (steps, table_width)

        return StepCache(ModulationRows(times.cpu(), rows), prepared)

    def context(
        self, t: Tensor, tokens: Tensor | None, mask: Tensor | None, inject: dict[int, Tensor] | None
    ) -> Context:
        """The checked raw context; `t (b | 1 | steps,)`."""
        check_condition(self.config, tokens, mask, inject)
        device, dtype = self.time.weights.device, self.dtype
        return Context(
            time=self.time(t).to(dtype),
            tokens=None if tokens is None else tokens.to(device, dtype),
            mask=None if mask is None else token_mask(mask.to(device)),
            inject={depth: value.to(device, dtype) for depth, value in (inject or {}).items()},
        )

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        *,
        tokens: Tensor | None = None,
        mask: Tensor | None = None,
        inject: dict[int, Tensor] | None = None,
        cache: StepCache | None = None,
    ) -> Tensor:
        """The prediction for x_t, in the dtype of `x`.

        `t (b,)`, or 0-d for the whole batch, in float32 whatever the weights are. `tokens (b, n, e)` with boolean
        `mask (b, n)`, True = real. `inject` maps a depth to `(b, d, l / config.depth_factor(depth))`. With `cache`, the
        condition is the cache's and `t` one of its times.
        """
        self.check(x, t, tokens, mask, inject, cache)
        if cache is None:
            context = self.context(t.to(x.device, torch.float32).reshape(-1), tokens, mask, inject)
        else:
            context = cache.at(t)
        frames = x if torch.is_autocast_enabled(x.device.type) else x.to(self.dtype)
        return self.run(self, frames, context).to(x.dtype)

    def check(self, x: Tensor, t: Tensor, tokens: object, mask: object, inject: object, cache: StepCache | None) -> None:
        check_input(self.config.in_channels, self.total_factor, x, t)
        if cache is not None and not (tokens is None and mask is None and inject is None):
            raise ValueError("tokens, mask and inject belong to UNet1d.cache where a cache is given")
        if cache is None:
            sizes = {depth: (value.shape[0], value.shape[2]) for depth, value in (inject or {}).items()}
        else:
            sizes = {depth: (value.shape[0], value.shape[2]) for depth, value in cache.context.inject.items()}
            if cache.items not in (1, x.shape[0]):
                raise ValueError(f"a cache for {cache.items} items was given with {x.shape[0]} items of x; slice it")
        for depth, (items, frames) in sizes.items():
            length = x.shape[2] // self.config.depth_factor(depth)
            if items not in (1, x.shape[0]) or frames != length:
                expected = f"an injection ({x.shape[0]}, d, {length}) at depth {depth}"
                raise ValueError(f"expected {expected}, came {items} items of {frames} frames")

    def body(self, x: Tensor, context: Context) -> Tensor:
        """The part of `forward` that depends on x."""
        skips = []
        for level in self.levels:
            skips.append(level.skip_adapter(x))
            x = level.down(x)
            for item in level.items_down:
                x = self.item(item, x, context)
        for level in reversed(self.levels):
            for item in level.items_up:
                x = self.item(item, x, context)
            scale = context.modulation(level.skip, level.skip_slot)[:, :, None]
            x = skips.pop() + scale * level.lengthen(x)
        return x

    def item(self, item: Item, x: Tensor, context: Context) -> Tensor:
        if self.config.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(item, x, context, use_reentrant=False)
        return item(x, context)
