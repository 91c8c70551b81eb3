"""Mamba-2: a selective state-space model whose state has one size, however long the sequence was.

"Transformers are SSMs" (Dao & Gu, arXiv 2405.21060): the recurrence of section 2, `S_t = exp(dt_t A) S_{t-1} + dt_t B_t x_t`,
`y_t = C_t S_t + D x_t`, in three forms that give the same: `ssd_steps` one after another (equation 1), `ssd_parallel` all at
once as masked attention (equation 16), and `ssd_chunked`, attention within chunks and the recurrence between them (section
6). Weights have the names of transformers' `Mamba2Model`, so that its state dict loads, embeddings aside, with one group of B and C.

Letters here: `l` positions, `h` heads, `p` features of a head, `n` features of the state; A `(h,)`, dt `(b, l, h)`, x `(b, l, h, p)`,
B and C `(b, l, n)`, a state `(b, h, p, n)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mousai.networks.linear import Linear


@dataclass(frozen=True)
class Mamba2Config:
    """Shape of a `Mamba2`; the defaults are the published prior's (8 layers of 256, state 16)."""

    features: int = 256
    layers: int = 8
    state: int = 16  # numbers that a head keeps of each of its features
    conv: int = 4  # positions that the convolution before the recurrence sees
    expand: int = 2  # inner features, times `features`
    head_features: int = 64
    chunk: int = 64  # positions that are computed at once
    norm_first: bool = True  # before a block's mixer, as published; else after the sum, as the first transformers had it

    def __post_init__(self) -> None:
        for name in ("features", "layers", "state", "expand", "head_features", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, came {getattr(self, name)}")
        if self.conv < 2:
            raise ValueError(f"conv: expected at least 2, came {self.conv}")
        if self.features * self.expand % self.head_features:
            raise ValueError(f"head_features: expected a divisor of features x expand = {self.features * self.expand}, came {self.head_features}")

    @property
    def inner(self) -> int:
        return self.features * self.expand

    @property
    def heads(self) -> int:
        return self.inner // self.head_features


PUBLISHED = Mamba2Config()  # MuseMorphic's prior
WIDE = Mamba2Config(features=384, layers=6, state=64, head_features=48)  # a state four times as deep in fewer, wider layers

State = tuple[Tensor, Tensor]  # what a layer remembers: (b, inner + 2 state, conv - 1) of the convolution, (b, h, p, n) of the recurrence


def ssd_steps(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """y `(b, l, h, p)` and the last state, one position after another."""
    outputs = []
    for i in range(x.shape[1]):
        decay = torch.exp(dt[:, i] * A)[..., None, None]  # (b, h, 1, 1)
        state = decay * state + (dt[:, i, :, None] * x[:, i])[..., None] * B[:, i, None, None]
        outputs.append(torch.einsum("bhpn,bn->bhp", state, C[:, i]))
    return torch.stack(outputs, dim=1), state


def ssd_parallel(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The same all at once: attention of C to B, each earlier position weighted by what has decayed since."""
    total = torch.cumsum(dt * A, dim=1).transpose(1, 2)  # (b, h, l): the logarithm of the decay up to and with a position
    between = total[..., :, None] - total[..., None, :]  # (b, h, l, l)
    causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
    weights = torch.exp(between.masked_fill(~causal, -torch.inf)) * (C @ B.mT)[:, None]
    driven = (dt[..., None] * x).transpose(1, 2)  # (b, h, l, p)
    y = weights @ driven + torch.exp(total)[..., None] * torch.einsum("bhpn,bln->bhlp", state, C)
    left = torch.exp(total[..., -1:] - total)  # (b, h, l): of what each position brought, at the end
    state = torch.exp(total[..., -1])[..., None, None] * state + (driven * left[..., None]).mT @ B[:, None]
    return y.transpose(1, 2), state


def ssd_chunked(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """The same in chunks of so many positions: memory grows with l, not with its square."""
    outputs = []
    for first in range(0, x.shape[1], chunk):
        here = slice(first, first + chunk)
        y, state = ssd_parallel(x[:, here], dt[:, here], A, B[:, here], C[:, here], state)
        outputs.append(y)
    return torch.cat(outputs, dim=1), state


class GatedNorm(nn.Module):
    """RMS norm of `x * silu(gate)`."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return F.rms_norm(x * F.silu(gate), (x.shape[-1],), self.weight, 1e-5)


class Mixer(nn.Module):
    """One selective state-space layer on `x (b, l, features)`."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        self.config, wide = config, config.inner + 2 * config.state
        self.in_proj = Linear(config.features, config.inner + wide + config.heads, bias=False)
        self.conv1d = nn.Conv1d(wide, wide, config.conv, groups=wide)
        self.A_log = nn.Parameter(torch.log(torch.empty(config.heads).uniform_(1, 16)))
        self.D = nn.Parameter(torch.ones(config.heads))
        dt = torch.exp(torch.empty(config.heads).uniform_(-6.9, -2.3))  # steps from 0.001 to 0.1, as the paper begins
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
        self.norm = GatedNorm(config.inner)
        self.out_proj = Linear(config.inner, config.features, bias=False)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The output and what the layer remembers after it; any division of a sequence into calls gives the same."""
        config = self.config
        gate, mixed, dt = self.in_proj(x).split([config.inner, config.inner + 2 * config.state, config.heads], dim=-1)
        seen = torch.cat([state[0], mixed.mT], dim=-1)  # (b, wide, conv - 1 + l)
        mixed = F.silu(self.convolved(seen))
        inner, B, C = mixed.split([config.inner, config.state, config.state], dim=-1)
        inner = inner.unflatten(-1, (config.heads, config.head_features))
        dt, A = F.softplus(dt + self.dt_bias), -torch.exp(self.A_log)
        if x.shape[1] == 1:
            y, memory = ssd_steps(inner, dt, A, B, C, state[1])
        else:
            y, memory = ssd_chunked(inner, dt, A, B, C, state[1], config.chunk)
        y = (y + self.D[:, None] * inner).flatten(-2)
        return self.out_proj(self.norm(y, gate)), (seen[..., 1 - config.conv :], memory)

    def convolved(self, seen: Tensor) -> Tensor:
        """The causal convolution, a channel by itself: `(b, l, wide)` of `(b, wide, conv - 1 + l)`."""
        windows = seen.unfold(-1, self.config.conv, 1)  # (b, wide, l, conv)
        return torch.einsum("bwlk,wk->blw", windows, self.conv1d.weight[:, 0]) + self.conv1d.bias


class Block(nn.Module):
    """x + the mixer of its RMS norm, or the RMS norm of x + its mixer."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.norm = nn.RMSNorm(config.features, 1e-5)
        self.mixer = Mixer(config)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if not self.norm_first:
            y, state = self.mixer(x, state)
            return self.norm(x + y), state
        y, state = self.mixer(self.norm(x), state)
        return x + y, state


class Mamba2(nn.Module):
    """Layers of `Block` on `x (b, l, features)`, and a last norm."""

    def __init__(self, config: Mamba2Config = PUBLISHED) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm_f = nn.RMSNorm(config.features, 1e-5)

    def initial(self, b: int) -> list[State]:
        """What b sequences remember before they begin: nothing."""
        config, like = self.config, self.norm_f.weight
        memory = like.new_zeros(b, config.heads, config.head_features, config.state)
        return [(like.new_zeros(b, config.inner + 2 * config.state, config.conv - 1), memory) for _ in self.layers]

    def forward(self, x: Tensor, state: Sequence[State] | None = None) -> tuple[Tensor, list[State]]:
        """The output `(b, l, features)`, and the state to go on from with what follows."""
        states = []
        for layer, own in zip(self.layers, state if state is not None else self.initial(x.shape[0]), strict=True):
            x, own = layer(x, own)
            states.append(own)
        return self.norm_f(x), states
