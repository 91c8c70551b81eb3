"""Where training music comes from: a folder of audio, a JSONL manifest or WebDataset shards, all as lists of tracks."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mousai.audio import io
from mousai.checks import Problems
from mousai.data.folders import folder_files
from mousai.data.index import Index, is_url, open_index
from mousai.data.metadata import from_tags, normalise
from mousai.data.shards import local_shards, shard_files
from mousai.data.sidecars import MANIFEST_BYTES, decoded
from mousai.files import parse_json, read_bytes

logger = logging.getLogger(__name__)

PATH_KEYS = ("file", "audio", "path")  # in a manifest, the first of these that a line has
NO_MUSIC = tuple(".png .jpg .jpeg .gif .webp .bmp .tif .tiff .svg .pdf .html .md .mid .midi".split())  # what lies beside music: pictures, pages, scores
SAVE_SECONDS = 60.0  # after so long what was found out about a source's files is kept, in case that the rest never comes


Found = tuple[str, io.File, dict[str, Any]]  # key, where, what the side-car or manifest says


@dataclass(frozen=True)
class Track:
    """One recording: `key` names it within its source for good, `num_samples` counts at its own `sample_rate`."""

    key: str
    path: Path | io.Member
    sample_rate: int
    channels: int
    num_samples: int
    metadata: dict[str, Any] = field(hash=False)

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate


@dataclass
class Source:
    """The usable tracks of a place and what had to be left out, as (key, reason)."""

    name: str
    index: Index = field(repr=False)
    tracks: list[Track] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    quiet: bool = False  # no lines in the log about what is skipped

    def __len__(self) -> int:
        return len(self.tracks)

    def __iter__(self) -> Iterator[Track]:
        return iter(self.tracks)

    def read(
        self,
        track: Track,
        start_seconds: float = 0.0,
        num_samples: int | None = None,
        sample_rate: int = 48000,
        channels: int = 2,
    ) -> Tensor:
        """Audio `(c, s)` of a track, or of the `num_samples` at `sample_rate` from `start_seconds` on.

        Raises `mousai.audio.io.AudioError` where the file turns out damaged: tell `skip` and take another.
        """
        return io.read(track.path, sample_rate, channels, start_seconds, num_samples)

    def fetch(self) -> None:
        """Has what a process of another machine opened here too: the shards of a URL, wherever this machine keeps them."""
        if is_url(self.name):
            here = {shard.name: shard for shard in local_shards(self.name)}
            self.tracks = [replace(track, path=replace(track.path, path=here[track.path.path.name])) for track in self.tracks]

    def content_hash(self, track: Track) -> str:
        """32 hexadecimal digits that name the bytes of a track's file, kept in the index with `index.save`."""
        return self.index.content_hash(track.key, track.path)

    def skip(self, key: str, reason: str) -> None:
        """Leave a file out: one line in the log, and it is listed under `skipped`."""
        self.note(key, reason)
        self.tracks = [track for track in self.tracks if track.key != key]

    def note(self, key: str, reason: str) -> None:
        """List a file that never was a track under `skipped`, with a line in the log unless its name says that it is no recording."""
        if not self.quiet and is_music(key):
            logger.warning("skipped %s", in_words(key, reason))
        self.skipped.append((key, reason))

    @property
    def missed(self) -> int:
        """How many of those skipped are recordings by their names."""
        return sum(is_music(key) for key, _ in self.skipped)


def open_source(spec: str | Path, split: str | None = None, quiet: bool = False, index_beside: bool = False) -> Source:
    """The tracks of a folder, a `.jsonl` manifest, or `.tar` shards given as path, pattern (`{000..012}`) or URL.

    Files that are no whole audio, links to folders and what cannot be opened are skipped, with a line each, and their count
    at the end; of pictures, pages and scores by their names nothing is said. With `split`, only tracks whose metadata names that split. Only files that are new or have changed are looked into, see `mousai.data.index`;
    `index_beside` keeps the index beside the source. Raises FileNotFoundError where the place or files of a manifest are
    missing (all are listed), Problems, a ValueError, with a line for each damaged side-car or line of a manifest, ValueError for
    an unknown split or a place with nothing usable.
    """
    text = str(spec)
    index = open_index(text, index_beside)
    source = Source(text, index, quiet=quiet)
    if re.search(r"\.tar\b", text) or text.startswith("pipe:"):
        found = shard_files(text, index)
    elif text.endswith(".jsonl"):
        found = manifest_files(Path(text))
    elif Path(text).is_dir():
        found = folder_files(Path(text), source.note)
    elif Path(text).exists():
        raise ValueError(f"{text}: expected a folder of audio, a .jsonl manifest or .tar shards")
    else:
        raise FileNotFoundError(f"no such data source: {text}")
    splits, keys, saved = set(), set(), time.monotonic()
    for key, file, metadata in found:
        if key in keys:
            raise ValueError(f"{text}: two files go by the name {key}")
        keys.add(key)
        splits.add(metadata.get("split"))
        if split is None or metadata.get("split") == split:
            add_track(source, key, file, metadata)
            if index.changed and time.monotonic() - saved > SAVE_SECONDS:
                index.save()
                saved = time.monotonic()
    index.keep(keys, {str(file.path) for _, file, _ in found if isinstance(file, io.Member)})
    index.save()
    if split is not None and split not in splits:
        named = ", ".join(sorted(filter(None, splits))) or "none"
        raise ValueError(f"{text}: no file is of the split '{split}'; splits named there: {named}")
    if source.missed and not quiet:
        logger.warning("%s: %d of %d files skipped", text, source.missed, source.missed + len(source))
    if not source.tracks:
        raise ValueError(f"{text}: holds no usable audio ({len(source.skipped)} files were skipped)")
    return source


def is_music(name: str) -> bool:
    """Whether a file's name may be a recording's: not a picture's, a page's or a score's."""
    return not name.lower().endswith(NO_MUSIC)


def in_words(key: str, reason: str) -> str:
    """Why a file was left out, with its name, which most reasons begin with."""
    return reason if key in reason.partition(":")[0] else f"{key}: {reason}"


def add_track(source: Source, key: str, file: io.File, metadata: dict[str, Any]) -> None:
    """Append a track, its tags filling in what `metadata` does not say, or skip what is no whole audio."""
    try:
        info = source.index.info(key, file)
    except (io.AudioError, PermissionError) as error:
        source.note(key, str(error))
        return
    metadata = {**from_tags(info.tags), **metadata}
    source.tracks.append(Track(key, file, info.sample_rate, info.channels, info.num_samples, metadata))


def manifest_files(manifest: Path) -> list[Found]:
    """The files of a JSONL manifest: an object a line, its audio relative to the manifest's folder."""
    if not manifest.is_file():
        raise FileNotFoundError(f"no such manifest: {manifest}")
    found, lines, missing, problems = [], {}, [], []
    for number, line in manifest_lines(manifest):
        where = f"{manifest}, line {number}"
        try:
            key, metadata = manifest_line(line, where)
        except ValueError as error:
            problems.append(str(error))
            continue
        if key in lines:
            problems.append(f"{where}: {key} was already on line {lines[key]}; a file has one line")
        lines[key] = number
        path = manifest.parent / key
        if not os.path.exists(path):
            missing.append(key)
        found.append((key, path, metadata))
    if problems:
        raise Problems(problems)
    if missing:
        names = "\n  ".join(missing)
        raise FileNotFoundError(f"{manifest}: {len(missing)} of {len(found)} files are missing beside it:\n  {names}")
    return found


def manifest_lines(manifest: Path) -> list[tuple[int, str]]:
    """The lines of a manifest that hold something, with their numbers; ValueError for one that is no text, or larger than any is."""
    lines = enumerate(decoded(read_bytes(manifest, MANIFEST_BYTES), manifest).split("\n"), 1)
    return [(number, line) for number, line in lines if line.strip()]


def manifest_line(line: str, where: str) -> tuple[str, dict[str, Any]]:
    """The path of a manifest's line and what else it says; ValueError, beginning with `where`."""
    fields = parse_json(line, where, dict)
    key = next((fields[name] for name in PATH_KEYS if fields.get(name)), None)
    if not isinstance(key, str) or "\0" in key:
        raise ValueError(f"{where}: expected the audio's path under one of {', '.join(PATH_KEYS)}")
    return key, normalise({k: v for k, v in fields.items() if k not in PATH_KEYS}, where)
