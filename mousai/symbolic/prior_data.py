"""Training items of the prior: windows of pieces as sequences of elements, bar after bar: the bar's chords, then each track's phrase.

The phrases' latents are computed once and kept in one file, with what else the prior sees; that file names the phrase VAE and the sources that
it is of, and is made anew where they are others.
"""

from __future__ import annotations

import bisect
import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mousai.checks import MAX_WORKERS, check_number
from mousai.conditioners.contrastive import TEXT
from mousai.config import to_dict
from mousai.data.captions import caption
from mousai.data.loader import SourceConfig
from mousai.data.sealed import read_sealed, write_sealed
from mousai.randomness import seed_of
from mousai.symbolic.harmony import CHORDS
from mousai.symbolic.material import BACK, NEW, Material, material_of, metre_class
from mousai.symbolic.phrase_data import Phrase, padded
from mousai.symbolic.sources import Piece, open_scores, read_scores

if TYPE_CHECKING:
    from mousai.conditioners.contrastive import PooledText
    from mousai.symbolic.phrase_vae import PhraseVAE

BAR, CELL = 0, 1  # kinds of elements
PLACES = 8  # bars that are told apart by their number
NEAR_END = 4  # bars before the end that are told so
MADE_BY = 3  # of the file's form
TEXTS = 3  # that are said of a piece, one of them at a time


@dataclass(frozen=True)
class PriorDataConfig:
    """Windows of scores."""

    sources: tuple[str | SourceConfig, ...]
    cache: str  # the file that the latents are kept in, .safetensors
    elements: int = 128  # of a window: as many whole bars as fit
    split: str | None = "train"  # null = every file
    valid_split: str | None = "valid"  # null = no validation
    workers: int = 0  # loader processes of each training process

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources: expected at least one, came none")
        if not self.cache.endswith(".safetensors"):
            raise ValueError(f"cache: expected the name of a .safetensors file, came {self.cache!r}")
        if any(isinstance(source, SourceConfig) and source.index_beside for source in self.sources):
            raise ValueError("sources: index_beside is for audio, scores have no index")
        check_number("workers", self.workers, 0, MAX_WORKERS, whole=True)
        if self.elements < 16:
            raise ValueError(f"expected elements of 16 or more, came {self.elements}")


def style_of_source(spec: str) -> str:
    """What pieces that name no style are called by: the folder that they are in."""
    path = Path(spec)
    return (path.parent if path.suffix else path).name


def materials(config: PriorDataConfig) -> list[tuple[Material, str, float]]:
    """The pieces of the sources with their split and their source's weight."""
    found = []
    for source in config.sources:
        spec, weight = (source.spec, source.weight) if isinstance(source, SourceConfig) else (source, 1.0)
        for piece, score in read_scores(open_scores(spec)):
            material = material_of(score, piece.metadata.get("style") or style_of_source(spec))
            found.append((replace(material, texts=texts_of(piece)), piece.split, weight))
    return found


def texts_of(piece: Piece) -> tuple[str, ...]:
    """What may be said of a piece: captions of its metadata without the key, since every piece is moved to one of two; none of what nothing is known of."""
    known = {name: value for name, value in piece.metadata.items() if name != "key"}
    found = [caption(known, random.Random(seed_of("texts", piece.key, number))) for number in range(TEXTS)]
    return tuple(found) if all(found) else ()


def cached(config: PriorDataConfig, vae: PhraseVAE, fingerprint: str, say: Callable[[str], object], text: PooledText | None = None) -> dict[str, Tensor]:
    """The tensors of all pieces, from the file that they are kept in, which is made where it is not there or of others; with `text`, of what is said of them too."""
    specs = [(source.spec, source.weight) if isinstance(source, SourceConfig) else (source, 1.0) for source in config.sources]
    pieces = [piece for spec, _ in specs for piece in open_scores(spec)]
    files = [_known_of(piece) for piece in pieces]
    words = "" if text is None else json.dumps([to_dict(text.text.config), seed_of(json.dumps([texts_of(piece) for piece in pieces]))])
    made_of = {"form": str(MADE_BY), "phrases": fingerprint, "sources": json.dumps(specs), "files": str(seed_of(json.dumps(sorted(files)))), "text": words}
    path = Path(config.cache)
    if path.is_file():
        try:
            tensors, said = read_sealed(path)
            if said == made_of or (text is None and said == made_of | {"text": said.get("text")}):  # words that nobody asks for do no harm
                return tensors
        except (ValueError, OSError) as error:
            say(f"the scores are encoded anew: {error}")
    say(f"encoding the phrases of {len(files)} scores to {path}, once")
    tensors = encoded(materials(config), vae, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sealed(path, tensors, made_of)
    return tensors


def _known_of(piece: Piece) -> tuple[str, int, int, str, str]:
    """What the kept file follows from: name, size, time of the last change, split and style."""
    there = piece.path.stat()
    return piece.key, there.st_size, there.st_mtime_ns, piece.split, str(piece.metadata.get("style", ""))


def encoded(pieces: Sequence[tuple[Material, str, float]], vae: PhraseVAE, text: PooledText | None = None) -> dict[str, Tensor]:
    """Pieces as flat tensors: what is told of each, its bars and its tracks one after another, each different phrase's latent once, and the embeddings of its texts."""
    known: dict[tuple[bytes, bool, int], int] = {}
    phrases: list[Phrase] = []
    columns: dict[str, list] = {name: [] for name in ("pieces", "weights", "bars", "tracks", "acts", "cells")}
    names: list[str] = []
    for material, split, weight in pieces:
        cells = np.full(material.acts.shape, -1)
        for bar, row in zip(range(len(cells)), material.phrases, strict=True):
            for track, phrase in enumerate(row):
                if len(phrase):
                    drums, length = material.parts[track].drums, material.bars[bar].length
                    key = (phrase.tobytes(), drums, length)
                    if key not in known:
                        known[key] = len(phrases)
                        phrases.append((phrase, drums, length))
                    cells[bar, track] = known[key]
        names.append(f"{split}\t{material.style}")
        columns["pieces"].append([len(material.bars), len(material.tracks), int(material.minor), material.tempo])
        columns["weights"].append(weight)
        columns["bars"] += [[metre_class(bar.metre), bar.length, *chords] for bar, chords in zip(material.bars, material.chords.tolist(), strict=True)]
        columns["tracks"] += [[track.family, track.register, track.density, track.polyphony] for track in material.tracks]
        columns["acts"] += material.acts.flatten().tolist()
        columns["cells"] += cells.flatten().tolist()
    made = {name: torch.tensor(values, dtype=torch.float32 if name == "weights" else torch.int32) for name, values in columns.items()}
    made["names"] = torch.frombuffer(bytearray("\n".join(names).encode()), dtype=torch.uint8)
    if text is not None:
        made["texts"] = embedded([material.texts for material, _, _ in pieces], text)
    return {**made, "latents": latents_of(phrases, vae)}


def embedded(texts: Sequence[tuple[str, ...]], encoder: PooledText) -> Tensor:
    """The embeddings `(pieces, TEXTS, features)` of texts; zeros where nothing is said."""
    different = sorted({each for some in texts for each in some}, key=len)
    rows = [encoder.encode(different[first : first + 64]).vectors[TEXT] for first in range(0, len(different), 64)]
    places, known = {each: place for place, each in enumerate(different)}, torch.cat(rows) if rows else torch.zeros(0, encoder.gives.vectors[TEXT])
    made = torch.zeros(len(texts), TEXTS, encoder.gives.vectors[TEXT])
    for row, some in enumerate(texts):
        if some:
            made[row] = known[[places[each] for each in some]]
    return made


def latents_of(phrases: Sequence[Phrase], vae: PhraseVAE) -> Tensor:
    """The latents `(phrases, latent)` of phrases, encoded with others of about their length."""
    order = sorted(range(len(phrases)), key=lambda i: len(phrases[i][0]))
    latents = torch.zeros(len(phrases), vae.config.latent)
    for rows in itertools.batched(order, 256) if hasattr(itertools, "batched") else (order[i : i + 256] for i in range(0, len(order), 256)):
        latents[list(rows)] = vae.encode(padded([phrases[i] for i in rows]))
    return latents


class PriorWindows(Dataset):
    """Windows `{name: (elements, …)}` as the prior takes them; which one item i is follows from (seed, i)."""

    def __init__(self, tensors: dict[str, Tensor], config: PriorDataConfig, styles: Sequence[str], split: str | None, seed: int) -> None:
        self.config, self.seed, self.latents = config, seed, tensors["latents"]
        names = [line.split("\t") for line in bytes(tensors["names"].tolist()).decode().split("\n")]
        self.pieces = []
        bar = track = cell = 0
        weights = []
        for row, (bars, tracks, minor, tempo) in enumerate(tensors["pieces"].tolist()):
            here = names[row]
            if split in (None, here[0]) and bars and tracks:
                style = styles.index(here[1]) if here[1] in styles else len(styles)
                self.pieces.append({
                    "style": style, "minor": minor, "tempo": tempo, "texts": tensors["texts"][row] if "texts" in tensors else None, "bars": tensors["bars"][bar : bar + bars].long(), "tracks": tensors["tracks"][track : track + tracks].long(),
                    "acts": tensors["acts"][cell : cell + bars * tracks].view(bars, tracks).long(), "cells": tensors["cells"][cell : cell + bars * tracks].view(bars, tracks).long(),
                })  # fmt: skip
                weights.append(float(tensors["weights"][row]) * bars * tracks)
            bar, track, cell = bar + bars, track + tracks, cell + bars * tracks
        if not self.pieces:
            raise ValueError(f"no scores of split {split!r}")
        self.cumulative = list(itertools.accumulate(weights))

    @property
    def num_bars(self) -> int:
        return sum(len(piece["bars"]) for piece in self.pieces)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = random.Random(seed_of(self.seed, index))
        piece = self.pieces[min(bisect.bisect_right(self.cumulative, rng.random() * self.cumulative[-1]), len(self.pieces) - 1)]
        bars = self.bars_in(len(piece["tracks"]))
        first = rng.randint(0, max(0, len(piece["bars"]) - bars))
        return self.window(piece, first, min(bars, len(piece["bars"]) - first), rng.randrange(TEXTS))

    def bars_in(self, tracks: int) -> int:
        """How many bars of so many tracks fit into a window."""
        return max(1, self.config.elements // (1 + tracks))

    def window(self, piece: dict, first: int, count: int, text: int = 0) -> dict[str, Tensor]:
        """The elements of `count` bars from `first` on, with zeros to the window's size; of what is said of the piece it is told number `text`."""
        tracks, last = len(piece["tracks"]), first + count
        here = piece["bars"][first:last]
        near = (len(piece["bars"]) - 1 - torch.arange(first, last)).clamp(max=NEAR_END)
        place = torch.arange(first, last) % PLACES
        cells, acts = piece["cells"][first:last], acts_within(piece["acts"][first:last])
        latents = self.latents[cells.clamp(min=0)] * (cells >= 0)[..., None]  # (bars, tracks, latent)
        back = torch.stack([earlier(self.latents, piece["cells"], first, last, far) for far in BACK], dim=2)
        spans = torch.stack([chords_before(piece["bars"][:, 2:], first, last, far) for far in BACK], dim=1)  # (bars, back, 2)

        def rows(bar: Tensor, cell: Tensor) -> Tensor:
            """(bars, …) and (bars, tracks, …) as elements."""
            return torch.cat([bar[:, None], cell], dim=1).flatten(0, 1)

        def told(values: Tensor) -> Tensor:
            return rows(values, values[:, None].expand(-1, tracks, *values.shape[1:]))

        fields = {
            "kind": rows(torch.full((count,), BAR), torch.full((count, tracks), CELL)), "metre": told(here[:, 0]), "chords": told(here[:, 2:]), "near": told(near), "place": told(place),
            "past": told(spans), "act": rows(torch.zeros(count, dtype=torch.long), acts), "latent": rows(torch.zeros(count, latents.shape[-1]), latents),
            "back": rows(torch.zeros(count, *back.shape[2:]), back),
            **{name: rows(torch.zeros(count, dtype=torch.long), piece["tracks"][:, i].expand(count, -1)) for i, name in enumerate(("family", "register", "density", "polyphony"))},
            "real": torch.ones(count * (1 + tracks), dtype=torch.bool),
        }  # fmt: skip
        size = max(self.config.elements, 1 + tracks)
        elements = {name: torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])]) for name, part in fields.items()}
        said = {} if piece["texts"] is None else {"text": piece["texts"][text]}
        return elements | said | {name: torch.tensor(piece[name]) for name in ("style", "minor", "tempo")}


def acts_within(acts: Tensor) -> Tensor:
    """Acts `(bars, tracks)` of a window: what goes back to before it is new there."""
    far = torch.tensor([0, 0, *BACK])[acts]
    return torch.where(torch.arange(len(acts))[:, None] < far, NEW, acts)


def earlier(latents: Tensor, cells: Tensor, first: int, last: int, far: int) -> Tensor:
    """The latents `(bars, tracks, latent)` of so many bars before each, zeros where there are none within the window."""
    rows = torch.arange(first, last) - far
    found = cells[rows.clamp(min=0)]
    there = (rows >= first)[:, None] & (found >= 0)
    return latents[found.clamp(min=0)] * there[..., None]


def chords_before(chords: Tensor, first: int, last: int, far: int) -> Tensor:
    """The chords `(bars, 2)` of so many bars before each; the class `CHORDS` where there are none within the window."""
    rows = torch.arange(first, last) - far
    return torch.where((rows >= first)[:, None], chords[rows.clamp(min=0)], CHORDS)


def is_new(window: dict[str, Tensor]) -> Tensor:
    """Which elements are cells with a phrase that was not there before."""
    return window["real"] & (window["kind"] == CELL) & (window["act"] == NEW)
