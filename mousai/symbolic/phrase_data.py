"""Training items of a phrase VAE: packs of phrases of about one length, in the home key, each different phrase once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mousai.checks import MAX_WORKERS, check_number
from mousai.data.loader import SourceConfig
from mousai.randomness import seed_of
from mousai.symbolic.phrases import gridded
from mousai.symbolic.sources import in_home_key, open_scores, read_scores

INFILLING, AUTOENCODING, VARIATIONAL = range(3)  # the stages of the curriculum
QUERIES = 4  # places beside its notes that a phrase takes in the encoder
Phrase = tuple[np.ndarray, bool, int]  # its notes (n, 4), whether they are drums', positions of its bar


@dataclass(frozen=True)
class PhraseDataConfig:
    """Phrases of scores; a batch is packs of phrases, the first of them for the earlier stages of the curriculum."""

    sources: tuple[str | SourceConfig, ...]
    pack: int = 4096  # places of notes in a pack: many short phrases or few long ones
    infilling: int = 0  # packs in which spans of notes are hidden from the encoder
    autoencoding: int = 0  # packs after these without noise; all others are the VAE's own
    transpose: int = 0  # pitched phrases are moved by up to so many semitones, each another way each time; not those that are held out
    split: str | None = "train"  # null = every file
    valid_split: str | None = "valid"  # null = no validation
    workers: int = 0  # loader processes of each training process

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources: expected at least one, came none")
        if any(isinstance(source, SourceConfig) and (source.weight != 1.0 or source.index_beside) for source in self.sources):
            raise ValueError("sources: weight and index_beside do nothing here, each different phrase is there once; leave them away")
        check_number("workers", self.workers, 0, MAX_WORKERS, whole=True)
        check_number("transpose", self.transpose, 0, 24, whole=True)
        if self.pack < 128 or min(self.infilling, self.autoencoding) < 0:
            raise ValueError(f"expected pack of 128 or more, the others of 0 or more, came {self}")


def phrases_in(sources: Sequence[str | SourceConfig], split: str | None) -> list[Phrase]:
    """Each different phrase of the files of a split, empty ones left out; ValueError if there are none."""
    found: dict[tuple[bytes, bool, int], Phrase] = {}
    for source in sources:
        pieces = open_scores(source.spec if isinstance(source, SourceConfig) else source)
        for _, score in read_scores([piece for piece in pieces if split in (None, piece.split)]):
            grid = gridded(in_home_key(score)[0])
            for bar, phrases in zip(grid.bars, grid.phrases, strict=True):
                for part, phrase in zip(grid.parts, phrases, strict=True):
                    if len(phrase):
                        found.setdefault((phrase.tobytes(), part.drums, bar.length), (phrase, part.drums, bar.length))
    if not found:
        raise ValueError(f"no notes of split {split!r} in {', '.join(map(str, sources))}")
    return list(found.values())


class PhrasePacks(Dataset):
    """Packs `{"notes": (b, n, 4), "count": (b,), "drums": (b,), "length": (b,), "stage": (b,)}`; which one item i is follows from (seed, i)."""

    def __init__(self, phrases: Sequence[Phrase], config: PhraseDataConfig, seed: int, staged: bool = True) -> None:
        self.config, self.seed, self.staged = config, seed, staged
        order = list(range(len(phrases)))
        random.Random(seed_of(seed, "order")).shuffle(order)
        self.phrases = [phrases[i] for i in sorted(order, key=lambda i: len(phrases[i][0]))]
        self.packs = []
        first = 0
        while first < len(self.phrases):
            last = first
            while last < len(self.phrases) and (last + 1 - first) * (len(self.phrases[last][0]) + QUERIES) <= config.pack:
                last += 1
            last = max(last, first + 1)
            self.packs.append((first, last))
            first = last
        self.shares = np.cumsum([last - first for first, last in self.packs])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = random.Random(seed_of(self.seed, index))
        drawn = rng.random() * self.shares[-1]
        first, last = self.packs[min(int(np.searchsorted(self.shares, drawn, side="right")), len(self.packs) - 1)]
        phrases = self.phrases[first:last]
        if self.staged and self.config.transpose:
            phrases = [transposed(phrase, rng.randint(-self.config.transpose, self.config.transpose)) for phrase in phrases]
        return {**padded(phrases), "stage": torch.full((last - first,), self.stage(index))}

    def stage(self, index: int) -> int:
        """The stage that item `index` belongs to: it follows from its number, so that a run can be taken up anywhere."""
        if not self.staged or index >= self.config.infilling + self.config.autoencoding:
            return VARIATIONAL
        return INFILLING if index < self.config.infilling else AUTOENCODING

    @staticmethod
    def collate(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Packs as one batch."""
        longest = max(item["notes"].shape[1] for item in items)
        notes = [torch.nn.functional.pad(item["notes"], (0, 0, 0, longest - item["notes"].shape[1])) for item in items]
        return {"notes": torch.cat(notes), **{name: torch.cat([item[name] for item in items]) for name in items[0] if name != "notes"}}


def transposed(phrase: Phrase, semitones: int) -> Phrase:
    """A phrase so much higher; as it is if it is of drums, or would leave the range of MIDI."""
    notes, drums, length = phrase
    moved = notes + np.array([0, semitones, 0, 0])
    return phrase if drums or moved.min() < 0 or moved[:, 1].max() > 127 else (moved, drums, length)


def padded(phrases: Sequence[Phrase]) -> dict[str, Tensor]:
    """Phrases as tensors: `notes (b, n, 4)` with zeros behind the `count (b,)` of each, `drums (b,)`, `length (b,)` of its bar."""
    count = torch.tensor([len(phrase) for phrase, _, _ in phrases])
    notes = torch.zeros(len(phrases), max(int(count.max()), 1), 4, dtype=torch.long)
    for row, (phrase, _, _) in enumerate(phrases):
        notes[row, : len(phrase)] = torch.from_numpy(np.ascontiguousarray(phrase))
    return {"notes": notes, "count": count, "drums": torch.tensor([int(drums) for _, drums, _ in phrases]), "length": torch.tensor([length for _, _, length in phrases])}
