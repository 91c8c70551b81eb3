"""Looking through a data set before anything is trained on it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mousai.audio import io
from mousai.data.metadata import FIELDS
from mousai.data.sources import Track, in_words, open_source

SILENT_PEAK = 1e-4  # -80 dB


@dataclass(frozen=True)
class ScanReport:
    """What a data set holds; every count is of files, and only whole ones count but in `skipped`."""

    source: str
    files: int
    hours: float
    shortest_seconds: float
    median_seconds: float
    longest_seconds: float
    sample_rates: dict[int, int]
    channels: dict[int, int]
    formats: dict[str, int]
    splits: dict[str, int]
    labels: dict[str, int]  # how many files have each field of metadata
    over_full_scale: int
    silent: list[str]
    skipped: list[tuple[str, str]]  # (file, why)

    def __str__(self) -> str:
        def counts(values: dict) -> str:
            return ", ".join(f"{count}× {value}" for value, count in values.items())

        labels = ", ".join(f"{field} {100 * count / self.files:.0f} %" for field, count in self.labels.items() if count)
        lines = [
            f"{self.source}: {self.files} files, {self.hours:.2f} h",
            f"length    {self.shortest_seconds:.1f} to {self.longest_seconds:.1f} s, median {self.median_seconds:.1f} s",
            f"rates     {counts(self.sample_rates)} Hz",
            f"channels  {counts(self.channels)}",
            f"formats   {counts(self.formats)}",
            f"splits    {counts(self.splits)}",
            f"labels    {labels or 'none'}",
            f"above full scale {self.over_full_scale}, silent {len(self.silent)}, skipped {len(self.skipped)}",
        ]
        lines += [f"silent: {key}" for key in self.silent]
        lines += [f"skipped: {in_words(key, reason)}" for key, reason in self.skipped]
        return "\n".join(lines)


def scan(
    source: str | Path,
    split: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ScanReport:
    """Decode every file of a data set and report hours, rates, damage and how much is labelled.

    `workers` decode at a time, by default one a core; `progress(done, total)` is called after each file. Errors are
    those of `mousai.data.sources.open_source`.
    """
    opened = open_source(source, split, quiet=True)
    peaks, formats = {}, Counter()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(workers or cores) as pool:
        tracks = list(opened)
        for done, (track, outcome) in enumerate(zip(tracks, pool.map(examine, tracks), strict=True), 1):
            if isinstance(outcome, io.AudioError):
                opened.skip(track.key, str(outcome))
            else:
                peaks[track.key], kind = outcome
                formats[kind] += 1
            if progress:
                progress(done, len(tracks))
    if not opened.tracks:
        raise ValueError(f"{source}: holds no usable audio ({len(opened.skipped)} files were skipped)")
    seconds = [track.seconds for track in opened]
    return ScanReport(
        source=str(source),
        files=len(opened),
        hours=sum(seconds) / 3600,
        shortest_seconds=min(seconds),
        median_seconds=median(seconds),
        longest_seconds=max(seconds),
        sample_rates=dict(Counter(track.sample_rate for track in opened).most_common()),
        channels=dict(Counter(track.channels for track in opened).most_common()),
        formats=dict(formats.most_common()),
        splits=dict(Counter(track.metadata.get("split", "none") for track in opened).most_common()),
        labels={name: sum(name in track.metadata for track in opened) for name in FIELDS if name != "split"},
        over_full_scale=sum(peak > 1 for peak in peaks.values()),
        silent=[key for key, peak in peaks.items() if peak < SILENT_PEAK],
        skipped=opened.skipped,
    )


def examine(track: Track) -> tuple[float, str] | io.AudioError:
    """(peak, format) of a track that decodes to its end; the error of one that does not, as a value."""
    try:
        peak = max(float(block.abs().max()) for block in io.blocks(track.path, track.sample_rate, track.channels, 1 << 20))
        found = io.info(track.path)
    except io.AudioError as error:
        return error
    return peak, found.format if found.subtype.startswith(("PCM", "MPEG")) else f"{found.format} {found.subtype}"
