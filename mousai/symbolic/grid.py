"""The prior of the grid: diffusion over the latents of bars times tracks, whose inpainting is infilling.

A transformer (networks/dit.py) sees all cells of a window at once, each by its noisy latent and whether it plays, by what it is told
(who plays, chords, metre, style, …) and, where it is known, by what is there. It is trained with parts known and parts not, so that what is drawn hears
what stays; when it is drawn, what stays is put back at every step too (diffusion/inpaint.py). Where a cell lies is told by rotary angles,
half of them of the bar and half of the track.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mousai.diffusion.guidance import guided
from mousai.diffusion.process import FLOW
from mousai.diffusion.samplers import SAMPLERS
from mousai.diffusion.sampling import PLAIN, sample_latents
from mousai.networks.dit import DiT, DiTConfig, rates_of
from mousai.symbolic.grid_data import TOLD
from mousai.symbolic.harmony import CHORDS
from mousai.symbolic.material import OTHER_METRE
from mousai.symbolic.prior import UNSAID
from mousai.symbolic.prior_data import NEAR_END, PLACES
from mousai.symbolic.score import DRUMS
from mousai.types import Callback, Condition, ConditionShape, RowPredict, SamplingSettings

SLOWEST_BAR, SLOWEST_TRACK = 64, 16  # cells in which the slowest angle turns once
OWN = replace(PLAIN, steps=12, schedule="linear", resamples=2)
SHAPE = ("bar", "track", "real", "keep")  # curves that are no classes


@dataclass(frozen=True)
class GridPriorConfig:
    """Shape of a `GridPrior`; the transformer's `in_channels` are the latents' and one more, whether a cell plays."""

    dit: DiTConfig
    latent: int = 64
    styles: tuple[str, ...] = ()  # names that pieces go by; any other is none
    told: int = 64  # features of what a cell is told
    cells: int = 96  # that are seen at once in use: as many as in training
    drop: float = 0.15  # probability with which each control is left out
    drop_all: float = 0.1  # and all of them together
    sample: SamplingSettings = OWN  # how to sample when nothing else is asked for

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample", self.sample.over(OWN))
        if self.dit.in_channels != self.latent + 1 or self.dit.out_channels not in (0, self.latent + 1) or self.dit.embedding_features or self.dit.patch != 1:
            raise ValueError(f"dit: expected in_channels of latent + 1 = {self.latent + 1}, patch 1, no other out_channels and no embedding_features")
        if (self.dit.features // self.dit.heads) % 4:
            raise ValueError(f"dit.features: expected a multiple of 4 x heads = {4 * self.dit.heads}, came {self.dit.features}")
        if self.cells < 2:
            raise ValueError(f"cells: expected 2 or more, came {self.cells}")
        if self.told < 1 or not (0 <= self.drop < 1 and 0 <= self.drop_all < 1):
            raise ValueError(f"expected told of 1 or more, drop and drop_all from 0 below 1, came {self.told}, {self.drop} and {self.drop_all}")


class GridPrior(nn.Module):
    """A `types.Generator` of cells: `(b, latent + 1, bars * tracks)`, bar after bar, told by the curves `TOLD` and `SHAPE` and by "known", what stays."""

    def __init__(self, config: GridPriorConfig) -> None:
        super().__init__()
        self.config, channels = config, config.latent + 1
        classes = {
            "family": DRUMS + 1, "register": UNSAID["register"] + 1, "density": UNSAID["density"] + 1, "first": CHORDS + 1, "second": CHORDS + 1, "metre": OTHER_METRE + 1,
            "place": PLACES, "near": NEAR_END + 1, "style": len(config.styles) + 2, "minor": 3, "tempo": UNSAID["tempo"] + 1,
        }  # fmt: skip
        self.tables = nn.ModuleDict({name: nn.Embedding(classes[name], config.told) for name in TOLD})
        self.dit = DiT(replace(config.dit, in_channels=2 * channels + 2 + config.told, out_channels=channels))
        self.register_buffer("mean", torch.zeros(config.latent))
        self.register_buffer("scale", torch.ones(config.latent))
        self.latent_channels, self.frame_multiple, self.accepts = channels, 1, ConditionShape(curves=dict.fromkeys((*TOLD, *SHAPE), 1) | {"known": channels})
        self.sampling, self.samplers, self.process = config.sample, tuple(SAMPLERS), FLOW

    @property
    def dtype(self) -> torch.dtype:
        return self.dit.dtype

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype of the transformer."""
        self.dit.to(dtype)

    def prepare(self, latents: Tensor) -> None:
        """Learns the mean and spread of latents `(n, latent)`, before the first step."""
        self.mean.copy_(latents.mean(0))
        self.scale.copy_(latents.std(0).clamp(min=1e-3))

    # What a cell is told

    @property
    def unsaid(self) -> dict[str, int]:
        """The class of each control that is not said."""
        return {name: value for name, value in UNSAID.items() if name in TOLD} | {"style": len(self.config.styles) + 1}

    def cells(self, latents: Tensor) -> Tensor:
        """Latents `(b, l, latent)`, 0 of rests, as what is diffused `(b, latent + 1, l)`: of unit variance, and 1 where a cell plays, -1 where it rests."""
        plays = (latents != 0).any(-1, keepdim=True)
        normal = torch.where(plays, (latents - self.mean) / self.scale, 0.0)
        return torch.cat([normal, torch.where(plays, 1.0, -1.0)], dim=-1).transpose(1, 2)

    def latents(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """The reverse: latents `(b, l, latent)`, and how surely each cell plays `(b, l)`, above 0 if it does."""
        normal, plays = cells.transpose(1, 2).split((self.config.latent, 1), dim=-1)
        return normal * self.scale + self.mean, plays[..., 0]

    def condition(self, told: dict[str, Tensor], cells: Tensor) -> Condition:
        """What is told of cells `(b, latent + 1, l)`: classes `(b, l)` of `TOLD` and `SHAPE`, and what is kept of the cells."""
        curves = {name: told[name][:, None].float() for name in (*TOLD, *SHAPE)}
        return Condition(curves=curves | {"known": cells * told["keep"][:, None]})

    def without_controls(self, condition: Condition) -> Condition:
        """The same with nothing asked for, which guidance leads away from."""
        return replace(condition, curves=condition.curves | {name: torch.full_like(condition.curves[name], value) for name, value in self.unsaid.items()})

    def beside(self, condition: Condition) -> Tensor:
        """What the transformer sees beside noisy cells `(b, features, l)`."""
        curves = condition.curves
        told = sum(table(curves[name][:, 0].long()) for name, table in self.tables.items())
        return torch.cat([curves["known"], curves["keep"], curves["real"], told.transpose(1, 2)], dim=1)

    def angles(self, condition: Condition) -> Tensor:
        """The rotary angles of cells `(2, b, 1, l, pairs)`."""
        pairs = self.config.dit.features // self.config.dit.heads // 4
        turned = [condition.curves[name][:, 0, :, None] * rates_of(pairs, slowest, self.mean.device) for name, slowest in (("bar", SLOWEST_BAR), ("track", SLOWEST_TRACK))]
        angles = torch.cat(turned, dim=-1)[:, None]
        return torch.stack([angles.cos(), angles.sin()])

    # Training

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error of the velocity of cells that are not known."""
        data, b = self.cells(batch["latents"]), len(batch["keep"])
        condition = self.condition(self.told(batch, generator), data)
        t = torch.sigmoid(torch.randn(b, generator=generator)).to(data)  # more in the middle, where there is most to learn
        noise = torch.randn(data.shape, generator=generator).to(data)
        x = torch.cat([FLOW.add_noise(data, noise, t), self.beside(condition)], dim=1)
        error = (self.dit(x, t, angles=self.angles(condition)) - FLOW.target(data, noise, t)).square()
        weight = (batch["real"] & ~batch["keep"])[:, None].to(error)
        flow = (error * weight).sum() / (weight.sum() * error.shape[1]).clamp(min=1)
        plays = (error[:, -1:] * weight).sum() / weight.sum().clamp(min=1)
        return flow, {"flow": flow, "plays": plays}

    def told(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """A batch with some controls left out."""
        b, told = len(batch["keep"]), dict(batch)
        drop_all = torch.rand(b, generator=generator) < (self.config.drop_all if self.training else 0.0)
        for name, unsaid in self.unsaid.items():
            left_out = drop_all | (torch.rand(b, generator=generator) < (self.config.drop if self.training else 0.0))
            told[name] = torch.where(left_out.to(batch[name].device)[:, None], unsaid, batch[name])
        return told

    # Use

    def sample(
        self, condition: Condition, num_frames: int, *, seeds: Sequence[int], negative: Condition | None = None, settings: SamplingSettings | None = None,
        init: Tensor | None = None, strength: float = 1.0, keep: Tensor | None = None, callback: Callback | None = None,
    ) -> Tensor:  # fmt: skip
        """Cells `(b, latent + 1, num_frames)`: see `types.Generator`."""
        negative = self.without_controls(condition) if negative is None else negative
        return sample_latents(
            self, condition, num_frames, seeds=seeds, negative=negative, settings=settings, init=init, strength=strength, keep=keep, callback=callback, device=self.mean.device,
        )  # fmt: skip

    def predictor(self, conditions: Sequence[Condition], settings: SamplingSettings, times: Tensor) -> RowPredict:
        """The prediction under guidance for rows of any condition and time: see `types.Generator`."""
        beside, angles = torch.cat([self.beside(each) for each in conditions]), torch.cat([self.angles(each) for each in conditions], dim=1)

        def predict(x: Tensor, t: Tensor, which: Tensor, first: Sequence[int]) -> Tensor:
            return self.dit(torch.cat([x, beside[which]], dim=1), t, angles=angles[:, which])

        return guided(self.process, predict, settings.over(self.sampling))
