"""Where training music comes from: a folder of audio, a JSONL manifest or WebDataset shards, all as lists of tracks."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from glob import glob
from pathlib import Path
from typing import Any

from torch import Tensor

from mousai.audio import io
from mousai.data.index import Index, cache_folder, is_url, open_index
from mousai.data.metadata import from_tags, normalise
from mousai.files import parse_json, writing
from mousai.leftovers import sweep

logger = logging.getLogger(__name__)

PATH_KEYS = ("file", "audio", "path")  # in a manifest, the first of these that a line has
SAVE_SECONDS = 60.0  # after so long what was found out about a source's files is kept, in case that the rest never comes
NEVER_AUDIO = (".json", ".jsonl", ".txt", ".md", ".csv")  # what lies beside the audio of a folder or shard


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
        """List a file that never was a track under `skipped`, with a line in the log."""
        if not self.quiet:
            logger.warning("skipped %s", reason if key in reason else f"{key}: {reason}")
        self.skipped.append((key, reason))


def open_source(spec: str | Path, split: str | None = None, quiet: bool = False, index_beside: bool = False) -> Source:
    """The tracks of a folder, a `.jsonl` manifest, or `.tar` shards given as path, pattern (`{000..012}`) or URL.

    Files that are no whole audio are skipped, with a line each and their count at the end. With `split`, only tracks
    whose metadata names that split. Only files that are new or have changed are looked into, see `mousai.data.index`;
    `index_beside` keeps the index beside the source. Raises FileNotFoundError where the place or files of a manifest are
    missing (all are listed), ValueError for a broken manifest, an unknown split or a place with nothing usable.
    """
    text = str(spec)
    index = open_index(text, index_beside)
    if re.search(r"\.tar\b", text):
        found = shard_files(text, index)
    elif text.endswith(".jsonl"):
        found = manifest_files(Path(text))
    elif Path(text).is_dir():
        found = folder_files(Path(text))
    elif Path(text).exists():
        raise ValueError(f"{text}: expected a folder of audio, a .jsonl manifest or .tar shards")
    else:
        raise FileNotFoundError(f"no such data source: {text}")
    source = Source(text, index, quiet=quiet)
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
    if source.skipped and not quiet:
        logger.warning("%s: %d of %d files skipped", text, len(source.skipped), len(source.skipped) + len(source))
    if not source.tracks:
        raise ValueError(f"{text}: holds no usable audio ({len(source.skipped)} files were skipped)")
    return source


def add_track(source: Source, key: str, file: io.File, metadata: dict[str, Any]) -> None:
    """Append a track, its tags filling in what `metadata` does not say, or skip what is no whole audio."""
    try:
        info = source.index.info(key, file)
    except (io.AudioError, PermissionError) as error:
        source.note(key, str(error))
        return
    metadata = {**from_tags(info.tags), **metadata}
    source.tracks.append(Track(key, file, info.sample_rate, info.channels, info.num_samples, metadata))


Found = tuple[str, io.File, dict[str, Any]]  # key, where, what the side-car or manifest says


def folder_files(folder: Path) -> list[Found]:
    """Every file below `folder` that may be audio, with its side-cars: the same name with .json (fields) or .txt (caption)."""
    found = []
    for key, beside in sorted(walked(folder), key=lambda each: each[0].split("/")):
        name = key.rpartition("/")[2]
        stem, suffix = name_and_suffix(name)
        if suffix.lower() not in NEVER_AUDIO:
            sides = [folder / f"{key.removesuffix(name)}{stem}{kind}" for kind in (".json", ".txt") if stem + kind in beside]
            texts = {side.suffix: decoded(side.read_bytes(), side) for side in sides if side.is_file()}
            path = folder / key
            found.append((key, path, sidecar_metadata(texts, str(path))))
    return found


def walked(folder: str | Path, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """The files below a folder, hidden ones left out, by their paths in it, each with all names that lie beside it."""
    try:
        with os.scandir(folder) as listed:
            entries = [entry for entry in listed if not entry.name.startswith(".")]
    except PermissionError:
        return
    names = {entry.name for entry in entries}
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walked(entry.path, f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path):
            yield prefix + entry.name, names


def name_and_suffix(name: str) -> tuple[str, str]:
    """As pathlib divides a name."""
    dot = name.rfind(".")
    return (name[:dot], name[dot:]) if 0 < dot < len(name) - 1 else (name, "")


def decoded(text: bytes, where: Path | str) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not text in UTF-8 ({error.reason} at byte {error.start})") from None


def sidecar_metadata(sidecars: dict[str, str], where: str) -> dict[str, Any]:
    """Metadata of the texts of side-cars by suffix; a caption in the JSON goes before the .txt."""
    metadata = {"caption": sidecars[".txt"].strip()} if sidecars.get(".txt", "").strip() else {}
    if ".json" in sidecars:
        metadata |= normalise(parse_json(sidecars[".json"], f"side-car of {where}", dict), where)
    return metadata


def manifest_files(manifest: Path) -> list[Found]:
    """The files of a JSONL manifest: an object a line, its audio relative to the manifest's folder."""
    if not manifest.is_file():
        raise FileNotFoundError(f"no such manifest: {manifest}")
    found, lines, missing = [], {}, []
    for number, line in enumerate(decoded(manifest.read_bytes(), manifest).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{manifest}, line {number}"
        fields = parse_json(line, where, dict)
        key = next((fields[name] for name in PATH_KEYS if fields.get(name)), None)
        if not isinstance(key, str):
            raise ValueError(f"{where}: expected the audio's path under one of {', '.join(PATH_KEYS)}")
        if key in lines:
            raise ValueError(f"{where}: {key} was already on line {lines[key]}; a file has one line")
        lines[key] = number
        path = manifest.parent / key
        if not path.exists():
            missing.append(key)
        found.append((key, path, normalise({k: v for k, v in fields.items() if k not in PATH_KEYS}, where)))
    if missing:
        names = "\n  ".join(missing)
        raise FileNotFoundError(f"{manifest}: {len(missing)} of {len(found)} files are missing beside it:\n  {names}")
    return found


def shard_files(pattern: str, index: Index) -> list[Found]:
    """The samples of WebDataset shards: files of one name up to the first dot, audio beside .json and .txt."""
    found = []
    for shard in local_shards(pattern):
        for name, texts, members in index.shard(shard, read_shard):
            metadata = sidecar_metadata(texts, f"{shard}:{name}")
            found += [(f"{shard.name}/{name}{suffix}", io.Member(shard, *place), metadata) for suffix, *place in members]
    return found


def read_shard(shard: Path) -> list[tuple[str, dict[str, str], list[tuple[str, int, int, str]]]]:
    """The samples of a shard: name, texts of its side-cars by suffix, and its other files (suffix, offset, bytes, name)."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    read = []
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                base, dot, suffix = member.name.rpartition("/")[2].partition(".")
                if member.isfile() and base and dot:
                    name = member.name[: len(member.name) - len(suffix) - 1]
                    samples.setdefault(name, {})[f".{suffix.lower()}"] = member
            for name, members in samples.items():
                sides = {suffix: members[suffix] for suffix in (".json", ".txt") if suffix in members}
                texts = {suffix: decoded(archive.extractfile(side).read(), f"{shard}:{side.name}") for suffix, side in sides.items()}
                others = [(suffix, member) for suffix, member in members.items() if not suffix.endswith(NEVER_AUDIO)]
                read.append((name, texts, [(suffix, member.offset_data, member.size, member.name) for suffix, member in others]))
    except tarfile.TarError as error:
        raise ValueError(f"{shard}: not a whole, uncompressed tar archive ({error})") from None
    return read


def local_shards(pattern: str) -> list[Path]:
    """The shards of a pattern as files: local ones where they are, URLs fetched once into the shard folder.

    That folder is $MOUSAI_SHARDS, by default `shards` in $MOUSAI_CACHE, ~/.cache/mousai. Raises FileNotFoundError naming all local
    shards that are missing, OSError for a URL that does not answer, ImportError without webdataset.
    """
    try:
        import webdataset
    except ImportError:
        raise ImportError("WebDataset shards need the package webdataset: pip install 'mousai[webdataset]'") from None
    shards: list[str] = []
    for url in webdataset.shardlists.expand_urls(pattern):
        shards += sorted(glob(url)) if "*" in url and not is_url(url) else [url]
    missing = [shard for shard in shards if not is_url(shard) and not Path(shard).is_file()]
    if missing or not shards:
        names = "\n  ".join(missing)
        raise FileNotFoundError(f"{pattern}: {len(missing)} of {len(shards)} shards are missing:\n  {names}")
    return [fetch_shard(shard) if is_url(shard) else Path(shard) for shard in shards]


def fetch_shard(url: str) -> Path:
    """A local copy of the shard at `url`, fetched beside its final name and renamed; what is there already is kept."""
    from webdataset.gopen import gopen

    folder = Path(os.environ.get("MOUSAI_SHARDS") or cache_folder() / "shards").expanduser()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", url.rpartition("/")[2])
    target = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    logger.info("fetching %s", url)
    with writing(target) as part, gopen(url) as stream, part.open("wb") as file:  # the stream's end tells whether it was whole
        shutil.copyfileobj(stream, file, 1 << 20)
    return target
