"""Batches without end: which items a batch holds, and where a crop begins, follow from (seed, item number) alone.

Number `i` is the same item for any batch size, worker count or number of processes, so that a run can be taken up anywhere.
"""

from __future__ import annotations

import bisect
import itertools
import random
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mousai.audio.io import AudioError, check_output, resampled_length
from mousai.audio.level import level_gain, rms_of
from mousai.checks import MAX_WORKERS, check_number
from mousai.data.sources import Source, Track, open_source
from mousai.randomness import seed_of

if TYPE_CHECKING:
    from accelerate import Accelerator

REDRAWS = 16  # draws for one crop before the loudest so far is taken


@dataclass(frozen=True)
class SourceConfig:
    spec: str  # a folder, a JSONL manifest or a WebDataset pattern
    weight: float = 1.0  # how often a second of it is drawn, beside a second of the others
    index_beside: bool = False  # what is known of its files is kept beside it, for all who use it, not in the cache folder

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight: expected above 0, came {self.weight}")


@dataclass(frozen=True)
class AudioDataConfig:
    """Random crops of recordings, for a codec."""

    sources: tuple[str | SourceConfig, ...]
    crop_samples: int = 2**18
    split: str | None = "train"  # null = every track
    valid_split: str | None = "valid"  # null = no validation
    pool: Literal["ram"] | None = None  # ram = decode every track once, at 16 bit
    rms: float | None = None  # crops are scaled to this root mean square
    gain_db: tuple[float, float] = (0.0, 0.0)  # then by a random gain between these
    floor_db: float = -60.0  # a crop whose rms is below is drawn again
    workers: int = 0  # loader processes of each training process

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources: expected at least one, came none")
        check_number("workers", self.workers, 0, MAX_WORKERS, whole=True)
        if self.crop_samples < 1:
            raise ValueError(f"expected crop_samples of 1 or more, came {self.crop_samples}")
        if self.rms is not None and not self.rms > 0:
            raise ValueError(f"rms: expected above 0 or null, came {self.rms}")
        if self.gain_db[0] > self.gain_db[1]:
            raise ValueError(f"gain_db: expected lowest, highest; came {self.gain_db}")


Opened = list[tuple[Source, float]]


def open_sources(sources: Iterable[str | SourceConfig], accelerator: Accelerator | None = None) -> Opened:
    """Each source with its weight; errors as in `mousai.data.sources.open_source`.

    Of several processes the first alone looks at the files and tells the others; shards of a URL are fetched by one of each machine.
    """
    configs = [SourceConfig(source) if isinstance(source, str) else source for source in sources]

    def look() -> Opened:
        return [(open_source(source.spec, index_beside=source.index_beside), source.weight) for source in configs]

    if accelerator is None:
        return look()
    from mousai.launch.processes import from_first

    opened = from_first(accelerator, look)
    with accelerator.local_main_process_first():
        for source, _ in opened:
            source.fetch()
    return opened


class AudioCrops(Dataset):
    """Crops `{"audio": (c, crop_samples)}` of all tracks of a split, each second as likely as any other.

    A shorter track is padded with silence; a track that names no split belongs to "train". ValueError if no track of
    the split is usable.
    """

    def __init__(self, opened: Opened, config: AudioDataConfig, split: str | None, sample_rate: int, channels: int, seed: int) -> None:
        check_output(sample_rate, channels)
        self.config, self.sample_rate, self.channels, self.seed = config, sample_rate, channels, seed
        self.tracks: list[tuple[Source, Track]] = []
        self.lengths: list[int] = []  # samples at `sample_rate`
        self.pool: list[tuple[np.ndarray, float]] = []  # 16-bit samples (c, s) and their scale
        self.damaged: set[int] = set()
        weights = []
        for source, weight in opened:
            for track in list(source):
                if split is None or track.metadata.get("split", "train") == split:
                    self._add(source, track, weight, weights)
        if not self.tracks:
            splits = sorted({track.metadata.get("split", "train") for source, _ in opened for track in source})
            raise ValueError(f"no usable audio for split {split!r} in {', '.join(s.name for s, _ in opened)}; splits there: {', '.join(splits)}")
        self.cumulative = list(itertools.accumulate(weights))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        best, loudest = torch.zeros(self.channels, self.config.crop_samples), 0.0
        rng = random.Random(seed_of(self.seed, index))
        for _ in range(REDRAWS):
            audio = self._crop(rng)
            rms = rms_of(audio)
            if rms > loudest:
                best, loudest = audio, rms
            if rms > 0 and 20 * np.log10(rms) >= self.config.floor_db:
                break
        gain = 10 ** (rng.uniform(*self.config.gain_db) / 20) * level_gain(loudest, self.config.rms)
        return {"audio": best * gain}

    @property
    def seconds(self) -> float:
        """The length of all tracks together."""
        return sum(self.lengths) / self.sample_rate

    def _add(self, source: Source, track: Track, weight: float, weights: list[float]) -> None:
        length = resampled_length(track.num_samples, track.sample_rate, self.sample_rate)
        if self.config.pool == "ram":
            try:
                audio = source.read(track, 0.0, None, self.sample_rate, self.channels).numpy()
            except AudioError as error:
                return source.skip(track.key, str(error))
            scale = max(1e-9, float(np.abs(audio).max(initial=0.0))) / 32767
            self.pool.append((np.round(audio / scale).astype(np.int16), scale))
            length = audio.shape[-1]
        self.tracks.append((source, track))
        self.lengths.append(length)
        weights.append(weight * length)

    def _crop(self, rng: random.Random) -> Tensor:
        """A crop at a random place; silence where a file turns out to be damaged."""
        size = self.config.crop_samples
        track = min(bisect.bisect_right(self.cumulative, rng.random() * self.cumulative[-1]), len(self.tracks) - 1)
        start = rng.randint(0, max(0, self.lengths[track] - size))
        if self.pool:
            samples, scale = self.pool[track]
            audio = torch.from_numpy(samples[:, start : start + size].astype(np.float32) * scale)
        elif track in self.damaged:
            audio = torch.zeros(self.channels, 0)
        else:
            audio = self._read(track, start, size)
        return torch.nn.functional.pad(audio, (0, size - audio.shape[-1]))

    def _read(self, index: int, start: int, size: int) -> Tensor:
        source, track = self.tracks[index]
        try:
            return source.read(track, start / self.sample_rate, size, self.sample_rate, self.channels)
        except AudioError as error:  # found out only now: this one crop is drawn again
            source.skip(track.key, str(error))
            self.damaged.add(index)
            return torch.zeros(self.channels, 0)


def batches(
    dataset: Dataset, batch_size: int, first: int = 0, *, rank: int = 0, world: int = 1, workers: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Endless batches of process `rank` of `world`, from batch number `first` on.

    Batch `k` holds the items from `(k * world + rank) * batch_size` on, so that all processes together see each item once.
    """
    numbers = (
        list(range((k * world + rank) * batch_size, (k * world + rank + 1) * batch_size)) for k in itertools.count(first)
    )
    loader = DataLoader(
        Plain(dataset) if workers else dataset, batch_sampler=numbers, num_workers=workers, collate_fn=getattr(dataset, "collate", None),
        generator=torch.Generator(), pin_memory=torch.cuda.is_available(), worker_init_fn=leave_signals_to_the_parent,
    )  # fmt: skip
    return in_one_line(iter(loader))


def in_one_line(stream: Iterator[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """The batches of a loader; an error of one of its worker processes in its own words, without the traceback that torch makes part of it."""
    try:
        yield from stream
    except (ValueError, OSError) as error:
        text = str(error)
        if "in DataLoader worker process" not in text.partition("\n")[0]:
            raise
        raise plain(error)(text.strip().rpartition("\n")[2].partition(": ")[2]) from error


class Plain(Dataset):
    """A dataset whose errors can be sent to another process: torch makes them there anew from their type and one text."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        try:
            return self.dataset[index]
        except (ValueError, OSError) as error:
            raise plain(error)("; ".join(str(error).splitlines())) from error


def plain(error: ValueError | OSError) -> type[ValueError] | type[OSError]:
    """The kind of an error that can be made of any text, which those of special kinds cannot."""
    return OSError if isinstance(error, OSError) else ValueError


def leave_signals_to_the_parent(worker: int) -> None:
    """A worker that a Ctrl-C or Slurm's SIGTERM ends would take the batch that its parent still waits for with it."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
