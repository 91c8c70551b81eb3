"""What earlier starts found out about the files of a source, so that no file is looked into twice.

A file is taken for the same while its size and time of change are; one that could not be read is looked into again by
another libsndfile. An index is kept in `$MOUSAI_CACHE/index`, by default `~/.cache/mousai/index`, under a hash of its source's
absolute path; or beside its source, where one is asked for or lies there, of which nothing is believed that is not of the right form.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import zlib
from collections.abc import Callable, Collection
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import soundfile

from mousai.audio import io
from mousai.audio.container import locate
from mousai.files import file_hash, parse_json, read_bytes, write_text

logger = logging.getLogger(__name__)

FORMAT = 1
SEAL = re.compile(rb',"crc":(\d{1,20})}\n\Z')
READER = f"libsndfile {soundfile.__libsndfile_version__}"  # a change of what mousai itself reads is a new FORMAT


class Info(NamedTuple):
    """What a track needs to know of its file; `num_samples` counts at its own rate."""

    sample_rate: int
    channels: int
    num_samples: int
    tags: dict[str, str]


@dataclass
class Known:
    """A file when it was looked into: its `Info`, or what is wrong with it, as its error says after the file's name."""

    num_bytes: int
    changed: int  # its time of change in ns
    found: list[Any] | str
    hash: str | None = None  # of its content, once that was asked for


@dataclass
class Index:
    """What is known of a source's files, by their keys, and of its shards, by their paths."""

    source: str
    path: Path | None  # of its file; None where there is no place for one
    files: dict[str, Known] = field(default_factory=dict)
    shards: dict[str, list[Any]] = field(default_factory=dict)  # [size, time of change, what the reader of the shard gave]
    hashes: dict[str, str] = field(default_factory=dict)  # that this process has worked out
    changed: bool = False  # since it was read

    def info(self, key: str, file: io.File) -> Info:
        """What the file holds, by `io.info` if it has changed; errors as there."""
        path, start, num_bytes, changed = locate(file)
        known = self.files.get(key)
        if known is None or (known.num_bytes, known.changed) != (num_bytes, changed):
            try:
                about = io.info(file)
                found: list[Any] | str = [about.sample_rate, about.channels, about.num_samples, about.tags]
            except io.AudioError as error:
                if not str(error).startswith(str(file)):
                    raise
                found = str(error).removeprefix(str(file))
            known = self.files[key] = Known(num_bytes, changed, found)
            self.changed = True
        if isinstance(known.found, str):
            raise io.AudioError(f"{file}{known.found}")
        return Info(*known.found)

    def content_hash(self, key: str, file: io.File) -> str:
        """32 hexadecimal digits of the SHA-256 of the file's bytes, worked out when it is first asked for."""
        path, start, num_bytes, changed = locate(file)
        known = self.files.get(key)
        same = known is not None and (known.num_bytes, known.changed) == (num_bytes, changed)
        if same and known.hash is not None:
            return known.hash
        digest = file_hash(path, start, num_bytes)[:32]
        if same:
            self.learn({key: digest})
        return digest

    def learn(self, hashes: dict[str, str]) -> None:
        """Takes over content hashes, such as another process has worked out."""
        for key, digest in hashes.items():
            self.files[key].hash = self.hashes[key] = digest
            self.changed = True

    def shard(self, shard: Path, read: Callable[[Path], Any]) -> Any:
        """What `read` makes of a shard, plain enough for JSON; from the index unless the shard has changed."""
        status = shard.stat()
        stamp, known = [status.st_size, status.st_mtime_ns], self.shards.get(str(shard))
        if known is None or known[:2] != stamp:
            known = self.shards[str(shard)] = [*stamp, read(shard)]
            self.changed = True
        return known[2]

    def keep(self, keys: Collection[str], shards: Collection[str]) -> None:
        """Forgets all other files and shards."""
        for known, kept in ((self.files, keys), (self.shards, shards)):
            for gone in known.keys() - kept:
                del known[gone]
                self.changed = True

    def save(self) -> None:
        """Writes the index if it has changed; says in a line where that cannot be done."""
        if not self.changed:
            return
        self.changed = False
        files = {key: astuple(known) for key, known in self.files.items()}
        try:
            if self.path is None:
                raise OSError("there is no home folder; set MOUSAI_CACHE")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = {"format": FORMAT, "reader": READER, "source": self.source, "files": files, "shards": self.shards}
            write_text(self.path, sealed(json.dumps(kept, separators=(",", ":"))))
        except OSError as error:
            logger.warning("the index of %s cannot be kept, its files will be looked into again: %s", self.source, error)


def open_index(source: str, beside: bool = False) -> Index:
    """The index of a source, a path or URL; a new one where there is none, or none that can be read, which a line says."""
    place = source if is_url(source) else os.path.abspath(source)
    index = Index(place, index_path(place, beside))
    if index.path is None or not index.path.exists():
        return index
    try:
        data = parse_json(unsealed(read_bytes(index.path, 2**30), index.path).decode(), f"{index.path} is damaged", dict)
        if data.get("format") == FORMAT:
            files, shards = {key: known_file(known) for key, known in data["files"].items()}, data["shards"]
            if not (isinstance(shards, dict) and all(map(is_known_shard, shards.values()))):
                raise TypeError("shards")
            if data.get("reader") != READER:  # it may read what another could not
                files = {key: known for key, known in files.items() if not isinstance(known.found, str)}
            return Index(place, index.path, files, shards)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        told = isinstance(error, (OSError, ValueError)) and not isinstance(error, UnicodeDecodeError)
        reason = error if told else f"{index.path} is damaged"
        logger.warning("the files of %s are looked into anew: %s", source, reason)
    return index


def sealed(text: str) -> str:
    """The JSON of an object with the CRC-32 of that text as its last entry."""
    return f'{text[:-1]},"crc":{zlib.crc32(text.encode())}}}\n'


def unsealed(data: bytes, path: Path) -> bytes:
    """What was `sealed`, as it was; what was written before there was a seal stays. ValueError where it is not what was written."""
    seal = SEAL.search(data[-32:])
    if seal is None:
        return data
    data = data[: len(data) - len(seal[0])] + b"}"
    if zlib.crc32(data) != int(seal[1]):
        raise ValueError(f"{path} is damaged: it does not have its checksum")
    return data


def known_file(row: list[Any]) -> Known:
    """A file's row of an index, which may come with a data set; TypeError or ValueError for one that is not as `Index.save` writes it."""
    known = Known(*row)
    if not (is_number(known.num_bytes) and type(known.changed) is int and isinstance(known.hash, str | None)):
        raise TypeError("files")
    if not isinstance(known.found, str):
        *counts, tags = Info(*known.found)
        if not (all(is_number(count) and count > 0 for count in counts[:2]) and is_number(counts[2]) and is_texts(tags)):
            raise TypeError("files")
    return known


def is_known_shard(row: Any) -> bool:
    """Whether a shard's row of an index is its size, time of change and what `sources.read_shard` gives."""
    match row:
        case [num_bytes, int(), list(samples)] if is_number(num_bytes):
            return all(map(is_sample, samples))
    return False


def is_sample(row: Any) -> bool:
    match row:
        case [str(), texts, list(members)] if is_texts(texts):
            return all(
                isinstance(member, list) and [type(value) for value in member] == [str, int, int, str] and min(member[1:3]) >= 0
                for member in members
            )
    return False


def is_number(value: Any) -> bool:
    return type(value) is int and value >= 0


def is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def index_path(place: str, beside: bool) -> Path | None:
    """Where the index of a source at an absolute path or URL is kept."""
    if not is_url(place):
        folder, name = (place, "") if os.path.isdir(place) else os.path.split(place)
        near = Path(folder, f".{re.sub(r'[^A-Za-z0-9._-]', '_', name) or 'mousai'}.index.json")
        if beside or near.exists():
            return near
    try:
        return cache_folder() / "index" / f"{hashlib.sha256(place.encode(errors='surrogateescape')).hexdigest()[:24]}.json"
    except RuntimeError:  # nobody knows where home is
        return None


def cache_folder() -> Path:
    """Where things are kept that can be made again: $MOUSAI_CACHE, by default ~/.cache/mousai."""
    return Path(os.environ.get("MOUSAI_CACHE") or "~/.cache/mousai").expanduser()


def is_url(place: str) -> bool:
    return re.match(r"[A-Za-z0-9]+:", place) is not None
