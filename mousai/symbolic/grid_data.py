"""Training items of the grid's prior: bars times tracks of phrases, cell after cell, a part of which is known."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from mousai.randomness import seed_of
from mousai.symbolic.harmony import CHORDS
from mousai.symbolic.prior_data import NEAR_END, PLACES, PriorWindows

TOLD = ("family", "register", "density", "first", "second", "metre", "place", "near", "style", "minor", "tempo")  # classes of every cell


class GridWindows(PriorWindows):
    """Windows `{name: (cells, …)}` as the grid's prior takes them; which one item i is, and what of it is known, follows from (seed, i)."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = super().__getitem__(index)
        return item | {"keep": known_cells(item, random.Random(seed_of(self.seed, index, "known")))}

    def bars_in(self, tracks: int) -> int:
        return max(1, self.config.elements // tracks)

    def window(self, piece: dict, first: int, count: int, text: int = 0) -> dict[str, Tensor]:
        """The cells of `count` bars from `first` on, bar after bar, with zeros to the window's size; they are told no text."""
        tracks, last = len(piece["tracks"]), first + count
        cells = piece["cells"][first:last]
        latents = self.latents[cells.clamp(min=0)] * (cells >= 0)[..., None]  # (bars, tracks, latent)
        near = (len(piece["bars"]) - 1 - torch.arange(first, last)).clamp(max=NEAR_END)
        said = told_cells(piece["bars"][first:last], piece["tracks"], near, first, *(piece[name] for name in ("style", "minor", "tempo")))
        fields = {"latents": latents.flatten(0, 1), **said, **places(count, tracks), "real": torch.ones(count * tracks, dtype=torch.bool)}
        size = max(self.config.elements, tracks)
        return {name: torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])]) for name, part in fields.items()}


def told_cells(bars: Tensor, tracks: Tensor, near: Tensor, first: int, style: int, minor: int, tempo: int) -> dict[str, Tensor]:
    """The classes `TOLD` of cells `(bars * tracks,)`: bars are rows of metre, length and two chords, the first of them of number `first`; tracks of family, register, density."""
    count, width = len(bars), len(tracks)
    of_bar = {"metre": bars[:, 0], "first": bars[:, 2], "second": bars[:, 3], "place": torch.arange(first, first + count) % PLACES, "near": near}
    found = {name: values[:, None].expand(-1, width).flatten() for name, values in of_bar.items()}
    found |= {name: tracks[:, i].expand(count, -1).flatten() for i, name in enumerate(("family", "register", "density"))}
    found |= {name: torch.full((count * width,), value) for name, value in (("style", style), ("minor", minor), ("tempo", tempo))}
    return {name: found[name].clamp(max=CHORDS) if name in ("first", "second") else found[name] for name in TOLD}


def places(bars: int, tracks: int) -> dict[str, Tensor]:
    """Which bar and which track each cell is."""
    cells = torch.arange(bars * tracks)
    return {"bar": cells // tracks, "track": cells % tracks}


def known_cells(item: dict[str, Tensor], rng: random.Random) -> Tensor:
    """Boolean `(cells,)`: all but a region of bars, of tracks or of both, at times all but single cells, at times nothing."""
    bar, track, real = item["bar"], item["track"], item["real"]
    bars, tracks = int(bar.max()) + 1, int(track.max()) + 1
    how = rng.random()
    if how < 0.15:
        return ~real
    if how < 0.3:
        share = rng.uniform(0.1, 0.6)
        return torch.tensor([rng.random() > share for _ in range(len(real))]) | ~real
    length = rng.randint(1, max(1, bars // 2 if how < 0.8 else bars))
    begin = rng.randint(0, bars - length)
    chosen = range(tracks) if how < 0.55 else rng.sample(range(tracks), rng.randint(1, max(1, tracks - 1)))
    inside = (bar >= begin) & (bar < begin + length) & torch.isin(track, torch.tensor(list(chosen)))
    return ~inside | ~real
