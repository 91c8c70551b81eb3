"""The prior: Mamba-2 goes through a piece bar after bar, first its chords, then each track's phrase, and says what comes next.

Each element is told who plays it, where it is and what was asked for (style, mode, tempo, and of a track its register and density; each left out at
times in training, all together for guidance; and the embedding of the prompt, where the prior has learned of texts), the latents of the same track one, two, four and eight bars before, and the element before it. Chords and acts
(material.py) are classes. New phrases' latents are drawn by a head that is trained by flow matching (Lipman et al., arXiv 2210.02747), for the mean of what may
follow is nothing that does: the regression that MuseMorphic describes averages its modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mousai.conditioners.text import TextConfig
from mousai.diffusion.process import FLOW
from mousai.diffusion.samplers import euler
from mousai.networks.linear import Linear
from mousai.networks.ssm import Mamba2, Mamba2Config, State
from mousai.networks.time_embedding import FourierTime
from mousai.randomness import randn
from mousai.symbolic.harmony import CHORDS
from mousai.symbolic.material import ACTS, BACK, DENSITIES, OTHER_METRE, POLYPHONIES, REGISTERS, TEMPOS
from mousai.symbolic.prior_data import BAR, CELL, NEAR_END, PLACES, is_new
from mousai.symbolic.score import DRUMS

UNSAID = {"style": 0, "minor": 2, "tempo": TEMPOS, "register": REGISTERS, "density": DENSITIES, "polyphony": POLYPHONIES}  # classes of what is not said; of style: one more than there are
PIECE = ("style", "minor", "tempo")  # controls of a whole piece
TRACK = ("family", "register", "density", "polyphony")  # what is told of a track


@dataclass(frozen=True)
class PhrasePriorConfig:
    """Shape of a `PhrasePrior`."""

    mamba: Mamba2Config = Mamba2Config()
    latent: int = 64
    styles: tuple[str, ...] = ()  # names that pieces go by; any other is none
    head_features: int = 256
    head_layers: int = 3
    times: int = 2  # of noise, at which each new phrase is seen in a step of training
    polyphony: bool = False  # whether a track is told how many of its notes sound together
    text: TextConfig | None = None  # what encodes the words that a piece is told; null = it is not told any
    text_features: int = 384
    text_rank: int = 64  # of the map from these to the model's own
    dropout: float = 0.0  # of what elements are told and of what becomes of it, in training
    drop_text: float = 0.5  # probability with which the words are left out
    drop: float = 0.15  # probability with which each control is left out
    drop_all: float = 0.1  # and all of them together

    def __post_init__(self) -> None:
        for name in ("latent", "text_features", "text_rank", "head_features", "head_layers", "times"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, came {getattr(self, name)}")
        for name in ("dropout", "drop_text", "drop", "drop_all"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: expected from 0 below 1, came {getattr(self, name)}")


class FlowHead(nn.Module):
    """Velocities of latents `(m, latent)` at times `(m,)`, told `(m, features)`: an MLP whose layers are modulated and begin as nothing."""

    def __init__(self, latent: int, told: int, features: int, layers: int) -> None:
        super().__init__()
        self.time = FourierTime(features)
        self.told, self.enter, self.leave = Linear(told, features), Linear(latent, features), Linear(features, latent)
        self.modulations = nn.ModuleList(Linear(features, 3 * features) for _ in range(layers))
        self.ups = nn.ModuleList(Linear(features, 2 * features) for _ in range(layers))
        self.downs = nn.ModuleList(Linear(2 * features, features) for _ in range(layers))
        for layer in (*self.modulations, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x_t: Tensor, t: Tensor, told: Tensor) -> Tensor:
        x, about = self.enter(x_t), F.silu(self.told(told) + self.time(t))
        for modulation, up, down in zip(self.modulations, self.ups, self.downs, strict=True):
            scale, shift, gate = modulation(about).chunk(3, dim=-1)
            x = x + (1 + gate) * down(F.silu(up(F.rms_norm(x, x.shape[-1:]) * (1 + scale) + shift)))
        return self.leave(F.rms_norm(x, x.shape[-1:]))


class PhrasePrior(nn.Module):
    BEGIN_AS_NOTHING = (r"tables\.polyphony\.weight", r"text\.\d\.weight")

    def __init__(self, config: PhrasePriorConfig) -> None:
        super().__init__()
        d = config.mamba.features
        self.config = config
        classes = {
            "kind": 2, "family": DRUMS + 1, "metre": OTHER_METRE + 1, "place": PLACES, "near": NEAR_END + 1, "style": len(config.styles) + 2, "minor": 3,
            "tempo": TEMPOS + 1, "register": REGISTERS + 1, "density": DENSITIES + 1,
        }  # fmt: skip
        self.tables = nn.ModuleDict({name: nn.Embedding(count, d) for name, count in classes.items()})
        self.chords = nn.ModuleList(nn.Embedding(CHORDS + 1, d) for _ in range(2))  # of the bar's halves; the last class is "nothing yet"
        self.past_chords = nn.ModuleList(nn.Embedding(CHORDS + 1, d) for _ in range(2 * len(BACK)))
        self.acts = nn.Embedding(ACTS + 1, d)  # of the element before; the last class is of a bar
        self.before = Linear(config.latent, d, bias=False)
        self.back = Linear(len(BACK) * config.latent, d, bias=False)
        for table in (*self.tables.values(), *self.chords, *self.past_chords, self.acts):
            nn.init.normal_(table.weight, std=0.3)
        if config.polyphony:
            self.tables["polyphony"] = nn.Embedding(POLYPHONIES + 1, d)
            nn.init.zeros_(self.tables["polyphony"].weight)
        if config.text is not None:
            self.text = nn.Sequential(Linear(config.text_features, config.text_rank, bias=False), Linear(config.text_rank, d, bias=False))
            nn.init.zeros_(self.text[1].weight)
        self.mamba = Mamba2(config.mamba)
        self.to_act, self.to_first = Linear(d, ACTS), Linear(d, CHORDS)
        self.to_second = nn.Sequential(Linear(2 * d, d), nn.SiLU(), Linear(d, CHORDS))
        self.head = FlowHead(config.latent, d, config.head_features, config.head_layers)
        self.register_buffer("mean", torch.zeros(config.latent))
        self.register_buffer("scale", torch.ones(config.latent))

    def prepare(self, latents: Tensor) -> None:
        """Learns the mean and spread of latents `(n, latent)`, before the first step."""
        self.mean.copy_(latents.mean(0))
        self.scale.copy_(latents.std(0).clamp(min=1e-3))

    @property
    def unsaid(self) -> dict[str, int]:
        """The class of each control that is not said."""
        return {name: value for name, value in UNSAID.items() if name in self.tables} | {"style": len(self.config.styles) + 1}

    # What an element is told

    def embed(self, elements: dict[str, Tensor]) -> Tensor:
        """`(b, l, features)` of elements `(b, l, …)`, whose `act_before` and `latent_before` are those of the element before each."""
        cell = (elements["kind"] == CELL)[..., None]
        x = sum(table(elements[name]) for name, table in self.tables.items() if name not in TRACK)
        playing = sum(self.tables[name](elements[name]) for name in TRACK if name in self.tables)
        chords = sum(table(elements["chords"][..., half]) for half, table in enumerate(self.chords))
        past = sum(table(elements["past"][..., i // 2, i % 2]) for i, table in enumerate(self.past_chords))
        back = self.back(self.normal(elements["back"]).flatten(-2))
        x = x + torch.where(cell, playing + chords + back, past)
        if self.config.text is not None:
            x = x + self.text(elements["text"])
        return x + self.acts(elements["act_before"]) + self.before(self.normal(elements["latent_before"]))

    def normal(self, latents: Tensor) -> Tensor:
        """Latents of unit variance; those of rests, which are 0, stay."""
        return torch.where((latents != 0).any(-1, keepdim=True), (latents - self.mean) / self.scale, 0.0)

    # Training

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats of chords and acts, and the flow's error of new phrases, each a mean over its elements."""
        elements = self.told(batch, generator)
        hidden, _ = self.mamba(self.dropped(self.embed(elements)))
        hidden = self.dropped(hidden)
        bar, cell = batch["real"] & (batch["kind"] == BAR), batch["real"] & (batch["kind"] == CELL)
        first, second = (batch["chords"][bar][:, half] for half in range(2))
        chord = F.cross_entropy(self.to_first(hidden[bar]), first) + F.cross_entropy(self.second(hidden[bar], first), second)
        act = F.cross_entropy(self.to_act(hidden[cell]), batch["act"][cell])
        flow = self.flow_loss(hidden[is_new(batch)], batch["latent"][is_new(batch)], generator)
        return 0.5 * chord + act + flow, {"chord": chord / 2, "act": act, "flow": flow}

    def dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training)

    def flow_loss(self, told: Tensor, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of the velocity at `times` times of each latent."""
        count = self.config.times
        data, told = self.normal(latents).repeat(count, 1), told.repeat(count, 1)
        t = torch.sigmoid(torch.randn(len(data), generator=generator)).to(data)  # more in the middle, where there is most to learn
        noise = torch.randn(data.shape, generator=generator).to(data)
        predicted = self.head(FLOW.add_noise(data, noise, t), t, told)
        return (predicted - FLOW.target(data, noise, t)).square().mean() if len(data) else told.sum() * 0

    def second(self, hidden: Tensor, first: Tensor) -> Tensor:
        """Logits of the second half's chord, given the first's."""
        return self.to_second(torch.cat([hidden, self.chords[0](first)], dim=-1))

    def told(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The elements of a batch of windows, with what was before each, and some controls left out."""
        b, size = batch["kind"].shape
        elements = {name: batch[name] for name in ("kind", *TRACK, "metre", "place", "near", "chords", "past", "back")}
        elements |= {name: batch[name][:, None].expand(-1, size) for name in PIECE}
        drop_all = torch.rand(b, generator=generator) < (self.config.drop_all if self.training else 0.0)
        for name, unsaid in self.unsaid.items():
            left_out = drop_all | (torch.rand(b, generator=generator) < (self.config.drop if self.training else 0.0))
            elements[name] = torch.where(left_out.to(elements[name].device)[:, None], unsaid, elements[name])
        if self.config.text is not None:
            left_out = drop_all | (torch.rand(b, generator=generator) < (self.config.drop_text if self.training else 0.0))
            elements["text"] = (batch["text"] * ~left_out.to(batch["text"].device)[:, None])[:, None].expand(-1, size, -1)
        act = torch.where(batch["kind"] == BAR, ACTS, batch["act"])
        elements["act_before"] = F.pad(act[:, :-1], (1, 0), value=ACTS)
        elements["latent_before"] = F.pad(batch["latent"][:, :-1], (0, 0, 1, 0))
        return elements

    # Composing, an element at a time

    @torch.no_grad()
    def step(self, elements: dict[str, Tensor], state: list[State] | None) -> tuple[Tensor, list[State]]:
        """What is known of one element `(b, features)`, each field `(b, …)`, and the state to go on with."""
        hidden, state = self.mamba(self.embed({name: value[:, None] for name, value in elements.items()}), state)
        return hidden[:, 0], state

    @torch.no_grad()
    def draw(self, told: Tensor, guidance: float, steps: int, generator: torch.Generator, spreads: Sequence[float] = (1.0,)) -> Tensor:
        """Latents `(m, latent)` that a new phrase may have, for what is known `(2, features)` with the controls and without; the noise that each comes from is so wide."""
        count = len(spreads)
        noise = torch.tensor(spreads)[:, None] * randn((self.config.latent,), [generator] * count)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            said, unsaid = self.head(x.repeat(2, 1), t.expand(2 * count), told.repeat_interleave(count, 0)).chunk(2)
            return unsaid + guidance * (said - unsaid)

        return euler(FLOW, predict, noise, torch.linspace(1, 0, steps + 1)) * self.scale + self.mean
