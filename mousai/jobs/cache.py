"""`mousai cache`: a recipe's sources, encoded once, so that training a generator touches no audio.

Several processes share the tracks. The same command again adds what is new and drops what the sources no longer have.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mousai.audio.io import AudioError, resampled_length
from mousai.data import cache as store
from mousai.data.captions import caption
from mousai.data.loader import open_sources
from mousai.data.sources import Source, Track
from mousai.launch.interrupt import Interrupt
from mousai.launch.processes import leave, processes
from mousai.pipelines.recording import level_gain
from mousai.randomness import seed_of
from mousai.recipe import Recipe, codec_fingerprint, load_part, load_recipe
from mousai.types import Codec, Condition, Conditioner, ConditionShape

REPORT_SECONDS = 10.0


@dataclass(frozen=True)
class Cached:
    """What `cache` did: items in the cache, of which this run added so many, and what stopped it."""

    folder: Path
    items: int
    added: int
    skipped: int
    seconds: float  # of audio in the cache
    reason: str  # done or signal


def cache(recipe: str | Path, overrides: Iterable[str] = (), *, shard_seconds: float = store.SHARD_SECONDS) -> Cached:
    """Encodes the sources of a generator's recipe into its `data.cache`.

    Errors as in `load_recipe` and `open_source`; ValueError for a cache of another codec, another text encoder or
    other captions.
    """
    loaded = load_recipe(recipe, overrides)
    if loaded.generator is None:
        raise ValueError(f"{recipe}: only a recipe with a generator has a cache; this one trains a codec")
    folder, accelerator = Path(loaded.data.cache), processes()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a latent cache is a folder")
    codec = load_part("codec", loaded.codec.path).to(accelerator.device)
    conditioner = loaded.conditioner.build().to(accelerator.device)
    opened = open_sources(loaded.data.sources)
    with store.locked(folder) if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            store.begin(folder, header_of(loaded, codec, conditioner))
        accelerator.wait_for_everyone()
        cached = encode_share(loaded, folder, opened, codec, conditioner, accelerator, shard_seconds)
    leave(accelerator)
    return cached


def header_of(recipe: Recipe, codec: Codec, conditioner: Conditioner) -> dict[str, Any]:
    """What the items of a recipe's cache follow from, and which tensors they have."""
    data = recipe.data
    return {
        "codec": codec_fingerprint(recipe.codec.path),
        "sample_rate": codec.sample_rate, "hop": codec.hop, "latent_channels": codec.latent_channels,
        "conditioner": recipe.conditioner.to_dict(),
        "segment_seconds": data.segment_seconds, "rms": data.rms, "captions": data.captions, "caption_drop": data.caption_drop,
        "seed": recipe.seed, "tensors": tensors_of(codec, conditioner.gives),
    }  # fmt: skip


@torch.no_grad()
def tensors_of(codec: Codec, gives: ConditionShape) -> dict[str, str]:
    """The tensors of an item, with the dtypes in which they are kept: half precision for what is long, but codes as they come."""
    tensors = {"latents": "float16"}
    made = codec.encode(torch.zeros(1, codec.channels, codec.hop)).dtype
    if not made.is_floating_point:
        tensors = {"codes": str(made).removeprefix("torch.")}
    if gives.tokens:
        tensors["tokens"] = "float16"
    tensors |= {f"vectors.{name}": "float32" for name in gives.vectors} | {f"numbers.{name}": "float32" for name in gives.numbers}
    return tensors | {f"curves.{name}": "float16" for name in gives.curves}


def encode_share(
    recipe: Recipe, folder: Path, opened: list[tuple[Source, float]], codec: nn.Module, conditioner: Conditioner,
    accelerator: Accelerator, shard_seconds: float,
) -> Cached:  # fmt: skip
    """Encodes what the cache lacks of every `num_processes`-th track; the first process then merges the index."""
    known = {item["id"] for item in store.read_items(folder)}
    accelerator.wait_for_everyone()  # nobody writes before everybody has read
    writer = store.CacheWriter(folder, accelerator.process_index, shard_seconds=shard_seconds)
    tracks = [(source, track) for source, _ in opened for track in source][accelerator.process_index :: accelerator.num_processes]
    keep: dict[str, set[str]] = {source.name: set() for source, _ in opened}
    added, report = 0, Progress(len(tracks), accelerator)
    with Interrupt() as interrupt:
        for source, track in tracks:
            try:
                for item, start, length in segments(recipe, source, track, codec):
                    new = item["id"] not in known and item["id"] not in keep[source.name]
                    if new and not interrupt.requested:
                        latents, condition = encode(recipe, source, track, start, length, codec, conditioner, item["captions"])
                        writer.add(item, latents, condition)
                        added += 1
                        report.seconds += length / codec.sample_rate
                    keep[source.name].add(item["id"])
            except AudioError as error:
                source.skip(track.key, str(error))
            report.track()
            if interrupt.requested:
                break
        writer.flush()
    return finish(folder, keep, added, sum(len(source.skipped) for source, _ in opened), interrupt, codec, accelerator)


def segments(recipe: Recipe, source: Source, track: Track, codec: nn.Module) -> Iterator[tuple[store.Item, int, int]]:
    """The items of a track, each with its first sample and its length at the codec's rate.

    A track is cut into equal segments, as many as it has whole `segment_seconds`, at least one. Captions follow from the
    recipe's seed and the item alone.
    """
    total = resampled_length(track.num_samples, track.sample_rate, codec.sample_rate)
    wished = recipe.data.segment_seconds
    count = 1 if wished is None else max(1, int(total / (wished * codec.sample_rate)))
    content = store.content_hash(track.path)
    for index in range(count):
        start, end = (total * i // count for i in (index, index + 1))
        place = (index + 1, count)
        key = json.dumps([source.name, content, place, track.metadata], sort_keys=True)
        name = f"{seed_of(key):016x}"
        segment = place if count > 1 else None
        captions = [
            caption(track.metadata, random.Random(seed_of(recipe.seed, name, variant)), segment, recipe.data.caption_drop)
            for variant in range(recipe.data.captions)
        ]
        yield {
            "id": name, "source": source.name, "track": track.key, "hash": content, "segment": place,
            "split": track.metadata.get("split", "train"), "captions": captions,
        }, start, end - start  # fmt: skip


@torch.no_grad()
def encode(
    recipe: Recipe, source: Source, track: Track, start: int, length: int, codec: nn.Module, conditioner: Conditioner, captions: list[str]
) -> tuple[Tensor, Condition]:
    """The latents `(d, l)` of a segment and the condition of its captions."""
    audio = source.read(track, start / codec.sample_rate, length, codec.sample_rate, codec.channels)
    audio = audio * level_gain(float(audio.square().mean().sqrt()), recipe.data.rms)
    device = next(codec.parameters()).device
    return codec.encode(audio[None].to(device))[0], conditioner.encode(captions)


def finish(
    folder: Path, keep: dict[str, set[str]], added: int, skipped: int, interrupt: Interrupt, codec: nn.Module, accelerator: Accelerator
) -> Cached:
    """Puts the processes' work together; without a merge if one was interrupted, for what is done counts anyway."""
    from accelerate.utils import gather_object

    shares = gather_object([(keep, added, skipped, interrupt.signalled)])
    reason = "signal" if any(share[3] for share in shares) else "done"
    if reason == "done" and accelerator.is_main_process:
        store.merge(folder, {name: set().union(*(share[0][name] for share in shares)) for name in keep})
    accelerator.wait_for_everyone()
    items = store.read_items(folder)
    if not items and reason == "done":
        raise ValueError(f"{folder}: nothing could be cached, {sum(share[2] for share in shares)} files were skipped")
    seconds = sum(item["frames"] for item in items) * codec.hop / codec.sample_rate
    return Cached(folder, len(items), sum(share[1] for share in shares), max(share[2] for share in shares), seconds, reason)


class Progress:
    """A line now and then: tracks done, times real time, time left."""

    def __init__(self, total: int, accelerator: Accelerator) -> None:
        self.total, self.done, self.seconds, self.shown = total, 0, 0.0, accelerator.is_main_process
        self.began = self.last = time.monotonic()

    def track(self) -> None:
        """Notes that a track is done."""
        self.done += 1
        now = time.monotonic()
        if self.shown and (now - self.last > REPORT_SECONDS or self.done == self.total):
            self.last = now
            spent = max(1e-9, now - self.began)
            left = spent / self.done * (self.total - self.done)
            print(f"{self.done}/{self.total} tracks  {self.seconds / spent:.1f} x real time  left {left:.0f} s", file=sys.stderr)
