"""A phrase, what one track plays in one bar, as 64 numbers and back.

A transformer reads the notes; four learned queries gather them into the mean and spread of a latent; a causal transformer writes
them again note by note, each note's position, pitch, duration and velocity one after another, so that whatever is not allowed
can be left out while it is drawn (constraints of `allowed`). Trained in three stages (phrase_data.py): with spans of notes hidden, then as an autoencoder,
then as a VAE whose divergence counts `beta`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mousai.networks.attention import split_heads
from mousai.networks.linear import Linear
from mousai.symbolic.embedding import FundamentalEmbedding
from mousai.symbolic.phrase_data import INFILLING, VARIATIONAL
from mousai.symbolic.phrases import FIELDS, LONGEST_BAR, MOST_NOTES

POSITION, PITCH, DURATION, VELOCITY = range(4)
END = FIELDS[POSITION]  # the class of position that says that no note comes any more
BASES = (199.0, 997.0, 199.0)  # of the embeddings' waves: lowest frequencies that still turn within what there is
SPAN = 3  # notes that are hidden together, on average

# (field, classes drawn so far (b, n, 4) with the fields of this note before it, rows (b,)) -> what may be drawn (b, classes), or None
Allowed = Callable[[int, Tensor, Tensor], Tensor | None]


@dataclass(frozen=True)
class PhraseVAEConfig:
    """Shape of a `PhraseVAE`."""

    features: int = 128
    encoder_layers: int = 2
    decoder_layers: int = 3
    heads: int = 4
    queries: int = 4
    latent: int = 64
    beta: float = 0.01  # how much the divergence counts
    hidden: float = 0.3  # share of the notes that are hidden from the encoder in the first stage

    def __post_init__(self) -> None:
        for name in ("encoder_layers", "decoder_layers", "heads", "queries", "latent"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, came {getattr(self, name)}")
        if self.features < 8 or self.features % (8 * self.heads):
            raise ValueError(f"features: expected a multiple of 8 x heads = {8 * self.heads}, came {self.features}")
        if self.beta < 0 or not 0 <= self.hidden < 1:
            raise ValueError(f"expected beta of 0 or more and 0 <= hidden < 1, came {self.beta} and {self.hidden}")


class Layer(nn.Module):
    """x + attention + MLP, each of an RMS norm of it; keys and values of earlier positions may be handed in and come back."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_mlp = nn.RMSNorm(features), nn.RMSNorm(features)
        self.to_qkv, self.to_out = Linear(features, 3 * features, bias=False), Linear(features, features, bias=False)
        self.up, self.down = Linear(features, 4 * features), Linear(4 * features, features)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = (split_heads(each, self.heads) for each in self.to_qkv(self.norm(x)).chunk(3, dim=-1))
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        x = x + self.to_out(out.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_mlp(x)), approximate="tanh")), (k, v)


class NoteEmbedding(nn.Module):
    """A note of classes `(b, n, 4)` as `(b, n, features)`: waves of its position, pitch and duration, and learned vectors of all four."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.waves = nn.ModuleList(FundamentalEmbedding(classes, features // 4, base) for classes, base in zip(FIELDS, BASES))
        self.mix = Linear(3 * (features // 4), features)
        self.own = nn.ModuleList(nn.Embedding(classes * (2 if field == PITCH else 1), features) for field, classes in enumerate(FIELDS))

    def forward(self, notes: Tensor, drums: Tensor) -> Tensor:
        waves = self.mix(torch.cat([wave(notes[..., field]) for field, wave in enumerate(self.waves)], dim=-1))
        return waves + sum(self.field(field, notes[..., field], drums) for field in range(4))

    def field(self, field: int, classes: Tensor, drums: Tensor) -> Tensor:
        """The learned vector of one field; drums `(b,)` have pitches of their own."""
        own = classes + FIELDS[PITCH] * drums[(...,) + (None,) * (classes.ndim - 1)] if field == PITCH else classes
        return self.own[field](own)


class Fields(nn.Module):
    """From what the decoder knows before a note to its four fields, each given those before it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(features) for _ in FIELDS)
        self.ups = nn.ModuleList(Linear(features, 2 * features) for _ in FIELDS[1:])
        self.downs = nn.ModuleList(Linear(2 * features, features) for _ in FIELDS[1:])
        self.heads = nn.ModuleList(Linear(features, classes + (field == POSITION)) for field, classes in enumerate(FIELDS))

    def logits(self, field: int, x: Tensor) -> Tensor:
        return self.heads[field](self.norms[field](x))

    def told(self, field: int, x: Tensor, embedded: Tensor) -> Tensor:
        """What is known once a field before the last is drawn."""
        x = x + embedded
        return x + self.downs[field](F.gelu(self.ups[field](x), approximate="tanh"))


class PhraseVAE(nn.Module):
    def __init__(self, config: PhraseVAEConfig) -> None:
        super().__init__()
        d = config.features
        self.config = config
        self.embed = NoteEmbedding(d)
        self.hidden = nn.Parameter(0.02 * torch.randn(d))
        self.queries = nn.Parameter(0.02 * torch.randn(config.queries, d))
        self.bar = nn.Embedding(2 * (LONGEST_BAR + 1), d)  # of how many positions, of drums or not
        self.place = nn.Embedding(MOST_NOTES + 1, d)
        self.encoder = nn.ModuleList(Layer(d, config.heads) for _ in range(config.encoder_layers))
        self.to_latent = Linear(config.queries * d, 2 * config.latent)
        self.memory = nn.ModuleList(Linear(config.latent, d, bias=False) for _ in range(config.decoder_layers))  # what each layer is told of the latent
        self.decoder = nn.ModuleList(Layer(d, config.heads) for _ in range(config.decoder_layers))
        self.fields = Fields(d)

    # Encoding

    def posterior(self, batch: dict[str, Tensor], hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance `(b, latent)` of phrases as `phrase_data.padded` has them; notes that are `hidden (b, n)` are seen as such."""
        notes, count, drums = batch["notes"], batch["count"], batch["drums"]
        x = self.embed(notes, drums)
        if hidden is not None:
            x = torch.where(hidden[..., None], self.hidden, x)
        b, n = notes.shape[:2]
        x = torch.cat([self.queries + self.begin(batch)[:, None], x + self.place.weight[:n]], dim=1)
        real = torch.arange(n, device=notes.device) < count[:, None]
        mask = F.pad(real, (self.config.queries, 0), value=True)[:, None, None]
        for layer in self.encoder:
            x, _ = layer(x, mask)
        mean, log_variance = self.to_latent(x[:, : self.config.queries].flatten(1)).chunk(2, dim=-1)
        return mean, log_variance.clamp(-12, 4)

    def begin(self, batch: dict[str, Tensor]) -> Tensor:
        """What stands before the first note `(b, features)`: how long the bar is, and whether it is of drums."""
        return self.bar(batch["length"].clamp(max=LONGEST_BAR) + (LONGEST_BAR + 1) * batch["drums"])

    @torch.no_grad()
    def encode(self, batch: dict[str, Tensor]) -> Tensor:
        """The latents `(b, latent)` of phrases: their means."""
        return self.posterior(batch)[0]

    # Training

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """What notes cost in nats a field, and `beta` times what the latent costs; the stage of each phrase says how it is seen."""
        stage, count = batch["stage"], batch["count"]
        hidden = self.spans(batch["notes"].shape[:2], generator).to(count.device) & (stage == INFILLING)[:, None]
        mean, log_variance = self.posterior(batch, hidden)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        variational = (stage == VARIATIONAL)[:, None]
        latents = mean + variational * noise * torch.exp(0.5 * log_variance)
        nll, right, fields = self.scored(latents, batch)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance) * variational
        logs = {"nll": nll / fields, "accuracy": right / fields, "divergence": divergence.sum(1).mean()}
        if not self.training:
            with torch.no_grad():
                shuffled, _, _ = self.scored(latents.roll(1, 0), batch)
            logs |= {"shuffled": shuffled / fields, "active": (mean.var(0) > 0.01).sum().float()}
        return (nll + self.config.beta * divergence.sum()) / fields, logs

    def spans(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Boolean `(b, n)`: spans of notes that together are about the share `hidden`."""
        starts = torch.rand(shape, generator=generator) < self.config.hidden / SPAN
        return F.max_pool1d(F.pad(starts.float(), (SPAN - 1, 0))[:, None], SPAN, 1)[:, 0] > 0

    def scored(self, latents: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Nats of all fields of a batch given latents, how many of them are the likeliest, and how many there are (the ends are fields too)."""
        notes, count, drums = batch["notes"], batch["count"], batch["drums"]
        x = self.known(latents, batch)
        places = torch.arange(notes.shape[1] + 1, device=notes.device)
        ended = places == count[:, None]
        real = places < count[:, None]
        target = F.pad(notes, (0, 0, 0, 1))
        position = torch.where(ended, END, target[..., POSITION])
        nll = right = torch.zeros((), device=x.device)
        for field in range(4):
            wanted = position if field == POSITION else target[..., field]
            counted = real | ended if field == POSITION else real
            logits = self.fields.logits(field, x[counted])
            nll = nll + F.cross_entropy(logits.float(), wanted[counted], reduction="sum")
            right = right + (logits.argmax(-1) == wanted[counted]).sum()
            if field < VELOCITY:
                x = self.fields.told(field, x, self.embed.field(field, target[..., field], drums))
        return nll, right, 4 * count.sum() + len(count)

    def known(self, latents: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """What the decoder knows before each note and the end `(b, n + 1, features)`."""
        notes = batch["notes"]
        x = torch.cat([self.begin(batch)[:, None], self.embed(notes, batch["drums"])], dim=1) + self.place.weight[: notes.shape[1] + 1]
        for layer, memory in zip(self.decoder, self.memory, strict=True):
            x, _ = layer(x + memory(latents)[:, None], causal=True)
        return x

    # Decoding

    @torch.no_grad()
    def decode(
        self, latents: Tensor, drums: Tensor, length: Tensor, *, temperature: float = 0.0, seeds: list[int] | None = None, allowed: Allowed | None = None
    ) -> list[Tensor]:
        """The notes `(n, 4)` of each of b latents, for bars of `length (b,)` positions, of `drums (b,)` or not.

        At temperature 0 the likeliest is taken; else phrase i draws from `seeds[i]` alone. Positions never go back, pitches of one position rise,
        and nothing begins after the bar's end, whatever `allowed` leaves.
        """
        b, batch = len(latents), {"drums": drums, "length": length}
        draws = torch.stack([torch.rand(MOST_NOTES, 4, generator=torch.Generator().manual_seed(seed)) for seed in seeds]) if seeds is not None and temperature else None
        notes = torch.zeros(b, 0, 4, dtype=torch.long)
        ends = torch.full((b,), MOST_NOTES)
        rows, told = torch.arange(b), [memory(latents)[:, None] for memory in self.memory]
        x = (self.begin(batch) + self.place.weight[0])[:, None]
        past: list[tuple[Tensor, Tensor] | None] = [None] * len(self.decoder)
        more = torch.ones(b, dtype=torch.bool)  # whether a higher pitch may still come at the last position
        for place in range(MOST_NOTES):
            for i, layer in enumerate(self.decoder):
                x, past[i] = layer(x + told[i], past=past[i])
            known = x[:, -1]
            notes = torch.cat([notes, torch.zeros(b, 1, 4, dtype=torch.long)], dim=1)
            for field in range(4):
                logits = self.fields.logits(field, known).float()
                possible = self.possible(field, notes, length, more, logits.shape[-1])
                may = allowed(field, notes, rows) if allowed is not None else None
                if may is not None:
                    possible = possible & F.pad(may, (0, logits.shape[-1] - may.shape[1]), value=True)
                logits = logits.masked_fill(~possible, -torch.inf)
                chosen = drawn(logits, temperature, None if draws is None else draws[:, place, field])
                if field == POSITION:
                    ends = torch.where((chosen == END) & (ends == MOST_NOTES), place, ends)
                    chosen = chosen.clamp(max=END - 1)
                elif field == PITCH:
                    more = (possible & (torch.arange(possible.shape[1]) > chosen[:, None])).any(1)
                notes[:, -1, field] = chosen
                if field < VELOCITY:
                    known = self.fields.told(field, known, self.embed.field(field, chosen, drums))
            if (ends < MOST_NOTES).all():
                break
            x = (self.embed(notes[:, -1], drums) + self.place.weight[place + 1])[:, None]
        return [row[:end] for row, end in zip(notes, ends)]

    @staticmethod
    def possible(field: int, notes: Tensor, length: Tensor, more: Tensor, classes: int) -> Tensor:
        """What a field `(b, classes)` of the last of `notes (b, n, 4)` can be at all; `more (b,)`: whether a pitch is left at the position before."""
        numbers = torch.arange(classes)
        before = notes[:, -2] if notes.shape[1] > 1 else torch.full_like(notes[:, -1], -1)
        if field == POSITION:
            return ((numbers >= before[:, None, POSITION] + (~more).long()[:, None]) & (numbers < length[:, None])) | (numbers == END)
        if field == PITCH:
            together = (notes[:, -1, POSITION] == before[:, POSITION])[:, None]
            return ~together | (numbers > before[:, None, PITCH])
        return torch.ones(len(notes), classes, dtype=torch.bool)


def drawn(logits: Tensor, temperature: float, uniform: Tensor | None) -> Tensor:
    """Classes `(b,)` of logits `(b, classes)`: the likeliest, or by the inverse of the distribution function at `uniform (b,)`."""
    if temperature == 0 or uniform is None:
        return logits.argmax(-1)
    shares = torch.cumsum(F.softmax(logits / temperature, dim=-1).double(), dim=-1)
    chosen = torch.searchsorted(shares, (uniform.double() * shares[:, -1])[:, None], right=True)[:, 0]
    last = (logits > -torch.inf).long().mul(torch.arange(1, logits.shape[-1] + 1)).argmax(-1)
    return torch.minimum(chosen, last)
