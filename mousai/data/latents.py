"""Training items out of a latent cache: windows of latents with the condition of one of their captions. No audio is touched."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from mousai.checks import MAX_WORKERS, check_number
from mousai.data.cache import CacheReader, Item, read_header, read_items
from mousai.data.loader import SourceConfig
from mousai.randomness import seed_of
from mousai.types import ConditionShape


@dataclass(frozen=True)
class LatentDataConfig:
    """Windows of cached latents, for a generator; the first group of fields is what `mousai cache` goes by."""

    sources: tuple[str | SourceConfig, ...]
    cache: str  # the cache's folder
    segment_seconds: float | None = None  # tracks are cut into equal segments of at least this length; null = whole tracks
    captions: int = 4  # variants an item
    caption_drop: float = 0.1  # probability that a field is left out of a caption
    rms: float | None = None  # segments are scaled to this root mean square before they are encoded

    crop_frames: int = 2048  # length of a window
    split: str | None = "train"  # null = every item
    valid_split: str | None = "valid"  # null = no validation
    workers: int = 0  # loader processes of each training process

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources: expected at least one, came none")
        if self.segment_seconds is not None and not self.segment_seconds > 0:
            raise ValueError(f"segment_seconds: expected above 0 or null, came {self.segment_seconds}")
        check_number("workers", self.workers, 0, MAX_WORKERS, whole=True)
        if self.captions < 1 or self.crop_frames < 1:
            raise ValueError(f"expected captions and crop_frames of 1 or more, came {self}")
        if not 0 <= self.caption_drop < 1:
            raise ValueError(f"caption_drop: expected 0 <= drop < 1, came {self.caption_drop}")
        if self.rms is not None and not self.rms > 0:
            raise ValueError(f"rms: expected above 0 or null, came {self.rms}")


class LatentCrops(Dataset):
    """Random windows of the cached items of a split, each with the condition of one of its captions.

    A window is `latents (d, crop_frames)`, or `codes (k, crop_frames)` of a discrete codec; `frames ()`, how many of them
    are real: a shorter item is followed by zeros; and the condition's parts by their names in `Condition.parts`: `tokens
    (n, e)`, `vectors.NAME (e,)`, `numbers.NAME ()`, and `curves.NAME (e, crop_frames)`, cut as the latents are. Where there are
    numbers, `numbers.start` is the second of the item at which the window begins.

    Items are drawn in proportion to their frames and their source's weight; what a window holds follows from (seed,
    number). ValueError if the cache lacks a source or a split.
    """

    def __init__(self, config: LatentDataConfig, split: str | None, seed: int) -> None:
        self.config, self.seed, self.reader = config, seed, CacheReader(config.cache)
        self.header = read_header(config.cache)
        self.coded = "codes" if "codes" in self.header["tensors"] else "latents"
        weights = {}
        for source in config.sources:
            source = SourceConfig(source) if isinstance(source, str) else source
            weights[source.spec] = source.weight
        cached = read_items(config.cache)
        for spec in weights:
            if not any(item["source"] == spec for item in cached):
                raise ValueError(f"latent cache {config.cache} has nothing of {spec}; run `mousai cache` with this recipe")
        cached = [item for item in cached if item["source"] in weights]
        self.splits = sorted({item["split"] for item in cached})
        self.items: Sequence[Item] = [item for item in cached if split in (None, item["split"])]
        if not self.items:
            raise ValueError(f"latent cache {config.cache} has nothing of split {split!r}; splits there: {', '.join(self.splits)}")
        missing = {item["shard"] for item in self.items if not (Path(config.cache) / item["shard"]).is_file()}
        if missing:
            raise FileNotFoundError(f"{config.cache} lacks {min(missing)} ({len(missing)} shards are missing); run `mousai cache` again")
        self.cumulative = list(itertools.accumulate(weights[item["source"]] * item["frames"] for item in self.items))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng, size = random.Random(seed_of(self.seed, index)), self.config.crop_frames
        place = bisect.bisect_right(self.cumulative, rng.random() * self.cumulative[-1])
        item = self.items[min(place, len(self.items) - 1)]
        frames = min(size, item["frames"])
        start = rng.randint(0, item["frames"] - frames)
        latents = pad(self.reader.latents(item, start, frames), (0, size - frames))
        condition = self.reader.condition(item, rng.randrange(len(item["lengths"])), start, size)
        if any(name.startswith("numbers.") for name in condition):
            condition["numbers.start"] = torch.tensor(start * self.header["hop"] / self.header["sample_rate"])
        return {self.coded: latents, "frames": torch.tensor(frames), **condition}

    @property
    def gives(self) -> ConditionShape:
        """Which parts the cached conditions have, and how wide they are."""
        one = self[0]
        kinds: dict[str, dict[str, int]] = {"vectors": {}, "numbers": {}, "curves": {}}
        for name, part in one.items():
            kind, _, own = name.partition(".")
            if own:
                kinds[kind][own] = part.shape[0] if part.ndim else 1
        tokens = one["tokens"].shape[1] if "tokens" in one else 0
        return ConditionShape(tokens, self.longest_caption if tokens else 0, kinds["vectors"], tuple(kinds["numbers"]), kinds["curves"])

    @property
    def longest_caption(self) -> int:
        """Tokens of the longest caption; 0 if their conditions have none."""
        return max(max(item["lengths"]) for item in self.items)

    @property
    def seconds(self) -> float:
        """The length of all items together."""
        return sum(item["frames"] for item in self.items) * self.header["hop"] / self.header["sample_rate"]

    @staticmethod
    def collate(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """A batch of windows: every tensor with a batch axis, `tokens (b, n, e)` with zeros to the longest and their `mask (b, n)`.

        `Condition.from_parts` takes its condition out of it.
        """
        batch = {name: torch.stack([item[name] for item in items]) for name in items[0] if name != "tokens"}
        if "tokens" in items[0]:
            lengths = torch.tensor([len(item["tokens"]) for item in items])
            batch["tokens"] = torch.nn.utils.rnn.pad_sequence([item["tokens"] for item in items], batch_first=True)
            batch["mask"] = torch.arange(int(lengths.max())) < lengths[:, None]
        return batch
