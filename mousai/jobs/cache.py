"""`mousai cache`: a recipe's sources, encoded once, so that training a generator touches no audio.

Several processes share the tracks, and each reads ahead of its encoder. The same command again adds what is new and drops
what the sources no longer have.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from mousai.audio.io import AudioError, resampled_length
from mousai.audio.level import at_level
from mousai.data import cache as store
from mousai.data.ahead import ahead, alike
from mousai.data.captions import caption
from mousai.data.known import KnownLatents
from mousai.data.loader import Opened, open_sources
from mousai.data.sources import Source, Track
from mousai.jobs.fronts import front_of, made_by
from mousai.launch.interrupt import Interrupt
from mousai.launch.processes import leave, processes
from mousai.pipelines.system import check_parts
from mousai.randomness import seed_of
from mousai.recipe import Recipe, load_recipe
from mousai.types import Codec, Condition, Conditioner, ConditionShape
from mousai.words import real_time, say

REPORT_SECONDS = 10.0
BATCH_SIZES = {"cpu": 1, "cuda": 16}  # segments that are encoded at once, by the kind of device; 4 on others
READERS = {"cpu": 1}  # threads that read ahead; 4 for other devices
LATER = ("curves.beat",)  # tensors that a cache from before them does without
AHEAD_SAMPLES = 2**26  # of audio, 256 MiB, that is read ahead, and again that waits for segments of its length


@dataclass(frozen=True)
class Cached:
    """What `cache` did: items in the cache, of which this run added so many, and what stopped it."""

    folder: Path
    items: int
    added: int
    skipped: int
    seconds: float  # of audio in the cache
    reason: str  # done or signal


@dataclass(frozen=True)
class Segment:
    """A piece of a track that becomes an item: `length` samples at the codec's rate from `start` on."""

    item: store.Item
    source: Source
    track: Track
    start: int
    length: int


def cache(
    recipe: str | Path, overrides: Iterable[str] = (), *, batch_size: int | None = None, shard_seconds: float = store.SHARD_SECONDS,
    latents_of: str | Path | None = None,
) -> Cached:  # fmt: skip
    """Encodes the sources of a recipe that trains on a cache into its `data.cache`, `batch_size` segments of one length at a time.

    The items are the same for any batch size, to float rounding; what suits the device is taken by default. Latents that the cache
    `latents_of`, of the same codec, segments and level, has are taken from there. Errors as in
    `load_recipe` and `open_source`; ValueError for a cache of another codec, another text encoder or other captions.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, came {batch_size}")
    loaded = load_recipe(recipe, overrides)
    if not loaded.cached:
        raise ValueError(f"{recipe}: only a recipe that trains on latents has a cache; this one does not")
    folder, accelerator = Path(loaded.data.cache), processes()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a latent cache is a folder")
    front = front_of(loaded, accelerator.device)
    codec, conditioner = front.codec, front.conditioner
    check_parts((loaded.generator or loaded.joint).build(), codec, conditioner)
    opened = open_sources(loaded.data.sources, accelerator)
    header = header_of(loaded, codec, conditioner, accelerator.device)
    known = None if latents_of is None else KnownLatents(latents_of, header)
    with store.locked(folder) if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            store.begin(folder, header | {"tensors": kept(folder, header["tensors"])})
        accelerator.wait_for_everyone()
        cached = encode_share(loaded, folder, opened, codec, conditioner, accelerator, batch_size, shard_seconds, known)
    leave(accelerator)
    return cached


def header_of(recipe: Recipe, codec: Codec, conditioner: Conditioner, device: torch.device) -> dict[str, Any]:
    """What the items of a recipe's cache follow from, and which tensors they have."""
    data = recipe.data
    return {
        **made_by(recipe),
        "sample_rate": codec.sample_rate, "hop": codec.hop, "latent_channels": codec.latent_channels,
        "segment_seconds": data.segment_seconds, "rms": data.rms, "captions": data.captions, "caption_drop": data.caption_drop,
        "seed": recipe.seed, "tensors": tensors_of(codec, conditioner.gives, device),
    }  # fmt: skip


@torch.no_grad()
def tensors_of(codec: Codec, gives: ConditionShape, device: torch.device) -> dict[str, str]:
    """The tensors of an item, with the dtypes in which they are kept: half precision for what is long, but codes as they come."""
    tensors = {"latents": "float16"}
    made = codec.encode(torch.zeros(1, codec.channels, codec.hop, device=device)).dtype
    if not made.is_floating_point:
        tensors = {"codes": str(made).removeprefix("torch.")}
    if gives.tokens:
        tensors["tokens"] = "float16"
    tensors |= {f"vectors.{name}": "float32" for name in gives.vectors} | {f"numbers.{name}": "float32" for name in gives.numbers}
    return tensors | {f"curves.{name}": "float16" for name in gives.curves}


def kept(folder: Path, tensors: dict[str, str]) -> dict[str, str]:
    """The tensors that are to be kept: all, or of a cache that was begun before the `LATER` ones those that it has, which a line says."""
    if not (folder / store.HEADER).is_file():
        return tensors
    lacks = [name for name in LATER if name in tensors and name not in store.read_header(folder)["tensors"]]
    if lacks:
        say(f"mousai: {folder} was begun before {', '.join(lacks)}, which it is not given; remove it to have recordings told it", to=sys.stderr)
    return {name: dtype for name, dtype in tensors.items() if name not in lacks}


def encode_share(
    recipe: Recipe, folder: Path, opened: Opened, codec: Codec, conditioner: Conditioner,
    accelerator: Accelerator, batch_size: int | None, shard_seconds: float, known_latents: KnownLatents | None = None,
) -> Cached:  # fmt: skip
    """Encodes what the cache lacks of every `num_processes`-th track; the first process then merges the index."""
    known, tensors = {item["id"] for item in store.read_items(folder)}, {"mask", *store.read_header(folder)["tensors"]}
    accelerator.wait_for_everyone()  # nobody writes before everybody has read
    writer = store.CacheWriter(folder, accelerator.process_index, shard_seconds=shard_seconds)
    tracks = [(source, track) for source, _ in opened for track in source][accelerator.process_index :: accelerator.num_processes]
    keep: dict[str, set[str]] = {source.name: set() for source, _ in opened}
    device, added, report = accelerator.device.type, 0, Progress(len(tracks), accelerator)
    batch_size = batch_size or BATCH_SIZES.get(device, 4)
    with Interrupt() as interrupt, ThreadPoolExecutor(READERS.get(device, 4)) as pool:
        plan = planned(recipe, tracks, codec, pool, report, interrupt)
        new = not_cached(plan, known, keep, report)
        sounds = readable(new, recipe.data.rms, codec, pool, report, most=2 * batch_size + 1)
        for batch in alike(sounds, lambda each: each[1].shape[-1], lambda each: each[1].numel(), batch_size, AHEAD_SAMPLES):
            if interrupt.requested:
                break
            found = encode(batch, codec, conditioner, accelerator.device, known_latents)
            for (segment, audio), latents, condition in zip(batch, *found, strict=True):
                said = recorded(segment, latents.shape[-1], codec, conditioner) | heard(audio, codec, conditioner)
                parts = ({name: part for name, part in each.items() if name in tensors} for each in (condition.parts(), said))
                writer.add(segment.item, latents, Condition.from_parts(next(parts)), next(parts))
                keep[segment.source.name].add(segment.item["id"])
                report.seconds += segment.length / codec.sample_rate
                report.passed(segment)
            added += len(batch)
        pool.shutdown(cancel_futures=True)  # after an interrupt nobody waits for what is still to be read
        writer.flush()
    report.line()
    return finish(folder, [source for source, _ in opened], keep, added, interrupt, codec, accelerator)


def planned(
    recipe: Recipe, tracks: list[tuple[Source, Track]], codec: Codec, pool: Executor, report: Progress, interrupt: Interrupt
) -> Iterator[Segment]:
    """The segments of all tracks; files are hashed ahead."""

    def cut(source: Source, track: Track) -> list[Segment] | tuple[Source, Track, AudioError]:
        try:
            return segments(recipe, source, track, codec)
        except AudioError as error:
            return source, track, error

    for found in ahead(pool, ((0, partial(cut, *each)) for each in tracks), most=8, limit=0):
        if interrupt.requested:
            return
        if isinstance(found, tuple):
            source, track, error = found
            source.skip(track.key, str(error))
            report.passed()
        else:
            yield from found


def not_cached(plan: Iterable[Segment], known: set[str], keep: dict[str, set[str]], report: Progress) -> Iterator[Segment]:
    """The segments that are neither known nor planned twice; the others are noted as such that the cache should keep."""
    seen = set(known)
    for segment in plan:
        if segment.item["id"] in seen:
            keep[segment.source.name].add(segment.item["id"])
            report.passed(segment)
        else:
            seen.add(segment.item["id"])
            yield segment


def readable(
    new: Iterable[Segment], rms: float | None, codec: Codec, pool: Executor, report: Progress, most: int
) -> Iterator[tuple[Segment, Tensor]]:  # fmt: skip
    """Segments with their audio, read ahead; a file that turns out damaged is skipped, with what it has after the damage."""
    damaged = set()
    reads = ((segment.length * codec.channels, partial(read, segment, rms, codec)) for segment in new)
    for segment, audio in ahead(pool, reads, most, AHEAD_SAMPLES):
        place = (segment.source.name, segment.track.key)
        if isinstance(audio, AudioError) and place not in damaged:
            damaged.add(place)
            segment.source.skip(segment.track.key, str(audio))
        if place in damaged:
            report.passed(segment)
        else:
            yield segment, audio


def read(segment: Segment, rms: float | None, codec: Codec) -> tuple[Segment, Tensor | AudioError]:
    """A segment with its audio `(c, s)`, brought to `rms`, or with the error of one that cannot be read."""
    try:
        audio = segment.source.read(segment.track, segment.start / codec.sample_rate, segment.length, codec.sample_rate, codec.channels)
    except AudioError as error:
        return segment, error
    return segment, at_level(audio, rms)


def segments(recipe: Recipe, source: Source, track: Track, codec: Codec) -> list[Segment]:
    """A track in equal segments, as many as it has whole `segment_seconds`, at least one.

    Captions follow from the recipe's seed and the item alone.
    """
    total = resampled_length(track.num_samples, track.sample_rate, codec.sample_rate)
    wished = recipe.data.segment_seconds
    count = 1 if wished is None else max(1, int(total / (wished * codec.sample_rate)))
    content, found = source.content_hash(track), []
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
        item = {
            "id": name, "source": source.name, "track": track.key, "hash": content, "segment": place,
            "split": track.metadata.get("split", "train"), "captions": captions,
        }  # fmt: skip
        found.append(Segment(item, source, track, start, end - start))
    return found


@torch.no_grad()
def encode(
    batch: list[tuple[Segment, Tensor]], codec: Codec, conditioner: Conditioner, device: torch.device, known: KnownLatents | None = None
) -> tuple[Tensor, list[Condition]]:
    """The latents `(b, d, l)` of segments of one length, and for each the condition of its captions; no text is encoded twice."""
    latents = None if known is None else known.latents([segment.item for segment, _ in batch])
    if latents is None:
        latents = codec.encode(torch.stack([audio for _, audio in batch]).to(device))
    captions = [segment.item["captions"] for segment, _ in batch]
    places = {text: place for place, text in enumerate(dict.fromkeys(text for texts in captions for text in texts))}
    condition = conditioner.encode(list(places))
    return latents, [condition[torch.tensor([places[text] for text in texts])] for texts in captions]


def recorded(segment: Segment, frames: int, codec: Codec, conditioner: Conditioner) -> dict[str, Tensor]:
    """What a segment's metadata say to a conditioner that asks for it, beside its captions."""
    if not hasattr(conditioner, "of_recording"):
        return {}
    return conditioner.of_recording(segment.track.metadata, segment.start / codec.sample_rate, frames, codec.hop / codec.sample_rate)


@torch.no_grad()
def heard(audio: Tensor, codec: Codec, conditioner: Conditioner) -> dict[str, Tensor]:
    """What a segment's audio `(c, s)` says to a conditioner that listens, such as where it lies in a joint space."""
    if not hasattr(conditioner, "of_audio"):
        return {}
    return {name: part[0] for name, part in conditioner.of_audio(audio[None], codec.sample_rate).items()}


def finish(
    folder: Path, sources: list[Source], keep: dict[str, set[str]], added: int, interrupt: Interrupt, codec: Codec, accelerator: Accelerator
) -> Cached:
    """Puts the processes' work together; without a merge if one was interrupted, for what is done counts anyway."""
    from accelerate.utils import gather_object

    skipped = sum(len(source.skipped) for source in sources)
    shares = gather_object([(keep, added, skipped, interrupt.signalled, [source.index.hashes for source in sources])])
    reason = "signal" if any(share[3] for share in shares) else "done"
    if accelerator.is_main_process:
        for share in shares:
            for source, hashes in zip(sources, share[4]):
                source.index.learn(hashes)
        for source in sources:
            source.index.save()
    if reason == "done" and accelerator.is_main_process:
        store.merge(folder, {name: set().union(*(share[0][name] for share in shares)) for name in keep})
    accelerator.wait_for_everyone()
    items = store.read_items(folder)
    if not items and reason == "done":
        raise ValueError(f"{folder}: nothing could be cached, {sum(share[2] for share in shares)} files were skipped")
    seconds = sum(item["frames"] for item in items) * codec.hop / codec.sample_rate
    return Cached(folder, len(items), sum(share[1] for share in shares), max(share[2] for share in shares), seconds, reason)


class Progress:
    """A line now and then: tracks that are done with, times real time, time left."""

    def __init__(self, total: int, accelerator: Accelerator) -> None:
        self.total, self.done, self.seconds, self.shown = total, 0.0, 0.0, accelerator.is_main_process
        self.began = self.last = time.monotonic()

    def passed(self, segment: Segment | None = None) -> None:
        """Notes that a segment, a part of its track, or a whole track is in the cache or left out for good."""
        self.done += 1 if segment is None or segment.item["segment"] is None else 1 / segment.item["segment"][1]
        if time.monotonic() - self.last > REPORT_SECONDS:
            self.line()

    def line(self) -> None:
        self.last = time.monotonic()
        spent = max(1e-9, self.last - self.began)
        left = spent / max(1.0, self.done) * max(0.0, self.total - self.done)
        if self.shown:
            say(f"{int(self.done + 1e-6)}/{self.total} tracks  {real_time(self.seconds / spent)}  left {left:.0f} s", to=sys.stderr)
