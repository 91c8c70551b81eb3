"""`mousai data synth`: compose and render a licence-free practice set, with a manifest that data sources read."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import soundfile
from threadpoolctl import threadpool_limits

from mousai.data.synth.instruments import SAMPLE_RATE
from mousai.data.synth.render import describe_clip, make
from mousai.data.synth.styles import STYLES
from mousai.files import read_json, sweep, write_text, writing

FORMATS = {"opus": ("OGG", "OPUS"), "ogg": ("OGG", "VORBIS"), "flac": ("FLAC", "PCM_16"), "wav": ("WAV", "PCM_16")}
LICENSE = "CC0-1.0 (made from scratch)"
VERSION = 1  # of the composer and renderer: raised when the same seed gives other sound


@dataclass(frozen=True)
class SynthSummary:
    """What a run of `synthesise` did."""

    manifest: Path
    made: int  # files written now
    kept: int  # complete files that were there already
    hours: float  # of the whole set


def synthesise(
    out: str | Path,
    count: int,
    seed: int = 0,
    seconds: float = 12.0,
    workers: int | None = None,
    format: str = "opus",
    progress: Callable[[int, int], None] | None = None,
) -> SynthSummary:
    """Write `count` clips and manifest.jsonl below `out`, all classes in turn, every tenth round of classes "valid".

    Clip i depends on (seed, i, seconds) alone. The same command again keeps the files that are there, and a larger
    count adds to them; after an interrupt the manifest lists what is there. `workers` processes share the work (default:
    one a usable core). `progress(done, total)` is called after each clip. Raises ValueError for settings out of range
    and for a folder that was made with others.
    """
    out = Path(out)
    _check(count, seconds, workers, format)
    _claim(out, {"version": VERSION, "seed": seed, "seconds": float(seconds), "format": format})
    (out / "audio").mkdir(exist_ok=True)
    rows = [_row(seed, index, seconds, format) for index in range(count)]
    missing = [index for index, row in enumerate(rows) if not (out / row["file"]).exists()]
    sweep(out / "audio")
    write = partial(_write_clip, out, seed, seconds, format)
    manifest = out / "manifest.jsonl"
    try:
        with closing(_spread(write, missing, workers)) as written:
            for done, _ in enumerate(written, start=count - len(missing) + 1):
                if progress:
                    progress(done, count)
    finally:  # an interrupted run leaves a whole, smaller set
        sweep(out / "audio")
        write_text(manifest, "".join(json.dumps(row) + "\n" for row in rows if (out / row["file"]).exists()))
    return SynthSummary(manifest, len(missing), count - len(missing), count * seconds / 3600)


def _check(count: int, seconds: float, workers: int | None, format: str) -> None:
    if count < 1:
        raise ValueError(f"count must be at least 1 clip, came {count}")
    if not (math.isfinite(seconds) and 1 <= seconds <= 600):
        raise ValueError(f"seconds must lie between 1 and 600, came {seconds}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, came {workers}")
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, came {format!r}")


def _claim(out: Path, settings: dict) -> None:
    """Make the folder and note its settings, or see that they are the ones it was made with."""
    note = out / "synth.json"
    if out.exists() and not out.is_dir():
        raise ValueError(f"expected a folder to write to, {out} is a file")
    out.mkdir(parents=True, exist_ok=True)
    if note.exists():
        there = read_json(note, f"remove {note} if the settings are the same, or choose another folder", dict)
        if there != settings:
            raise ValueError(f"{out} holds a practice set made with {there}, asked for {settings}; choose another folder")
    else:
        write_text(note, json.dumps(settings) + "\n")


def _row(seed: int, index: int, seconds: float, format: str) -> dict:
    metadata = describe_clip(seed, index, seconds)
    round_of_classes = index // len(STYLES)
    return {
        "file": f"audio/{index:06d}-{metadata['style']}.{format}",
        "split": "valid" if round_of_classes % 10 == 1 else "train",
        **metadata,
        "duration": round(seconds * SAMPLE_RATE) / SAMPLE_RATE,
        "sample_rate": SAMPLE_RATE,
        "license": LICENSE,
        "seed": seed,
        "index": index,
    }


def _write_clip(out: Path, seed: int, seconds: float, format: str, index: int) -> int:
    """Render one clip, written beside and renamed, so that a file that is there is complete."""
    audio, metadata = make(seed, index, seconds)
    path = out / "audio" / f"{index:06d}-{metadata['style']}.{format}"
    container, subtype = FORMATS[format]
    try:
        with writing(path) as part, soundfile.SoundFile(part, "w", SAMPLE_RATE, 2, subtype, format=container) as sink:
            sink.comment = json.dumps({"mousai_synth": {"seed": seed, "index": index, "caption": metadata["caption"]}})
            sink.write(audio.T)
    except soundfile.LibsndfileError as error:
        raise OSError(f"{path}: cannot be written: {error}; is the disk full?") from error
    return index


def _spread(write: Callable[[int], int], indices: list[int], workers: int | None) -> Iterator[int]:
    """Run `write` over the indices, in this process or in several; yields as they finish."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # Linux alone has it
    workers = min(workers or cores, len(indices))
    if workers <= 1:
        with threadpool_limits(1):  # many small matrix products: BLAS threads only wait for one another
            yield from map(write, indices)
        return
    context = multiprocessing.get_context("spawn")  # not forked: the parent may run torch's threads
    with context.Pool(workers, initializer=threadpool_limits, initargs=(1,)) as pool:
        yield from pool.imap_unordered(write, indices, chunksize=4)
