"""A latent cache: what a codec makes of segments of audio, with the conditions of their captions, in shards.

A cache folder holds

- `cache.json`: what it was made with (codec, text encoder, segments, captions), and `tensors`: the name and dtype of each
  tensor that every item has;
- `shard-NNNNN-RRR.safetensors`: those of each item as `<id>/<name>`. `latents (d, l)`, or a discrete codec's `codes (k, l)`;
  the parts of its captions' conditions, `tokens (n of all captions, e)` without padding, `vectors.NAME (captions, e)`,
  `numbers.NAME (captions,)`, `curves.NAME (captions, e, l)`, in one row where all captions share it; and whatever else
  was added, as it came;
- `shard-NNNNN-RRR.json`: the items of that shard. A shard counts once this file is there, so a killed process loses the
  shard that it was filling and nothing else;
- `index.json`: the items of all shards, merged by the first process when all are done.

Format 1 had no `tensors`: its items have latents and tokens in float16, and so have those that are added to it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.functional import pad

from mousai import locks
from mousai.checks import short
from mousai.data.items import Item, checksum, crc_of, ids_in, is_item, is_part, with_row
from mousai.files import read_json, write_json, write_tensors
from mousai.leftovers import sweep
from mousai.types import Condition

logger = logging.getLogger(__name__)

FORMAT = 2
FIRST_TENSORS = {"latents": "float16", "tokens": "float16"}  # of format 1
SHARD_BYTES = 256 * 2**20
NO_CACHE = "{} is not empty and no latent cache; name an empty or a new folder as data.cache"
SHARD_SECONDS = 300.0  # a shard is closed after so long, full or not: as much is lost in a kill
HEADER, INDEX, LOCK = "cache.json", "index.json", ".lock"
NUMBERS = ("sample_rate", "hop", "latent_channels")


class CacheWriter:
    """Adds items to the shards of process `rank`; the last shard is closed by `flush`."""

    def __init__(self, folder: Path, rank: int = 0, *, shard_bytes: int = SHARD_BYTES, shard_seconds: float = SHARD_SECONDS) -> None:
        self.folder, self.rank, self.shard_bytes, self.shard_seconds = folder, rank, shard_bytes, shard_seconds
        self.dtypes = {name: getattr(torch, dtype) for name, dtype in read_header(folder)["tensors"].items()}
        numbers = [int(path.name.split("-")[1]) for path in folder.glob(f"shard-*-{rank:03}.safetensors")]
        self.number = max(numbers, default=-1) + 1
        self.tensors: dict[str, Tensor] = {}
        self.items: list[Item] = []
        self.bytes, self.since = 0, time.monotonic()

    def add(self, item: Item, latents: Tensor, condition: Condition, extra: Mapping[str, Tensor] | None = None) -> None:
        """Adds what a codec made of an item, latents `(d, l)` or codes `(k, l)`, and the condition of its b captions.

        `extra` are the item's further tensors, for `CacheReader.tensor`; those that are named as a part of a condition,
        `vectors.NAME (e,)`, `numbers.NAME ()` or `curves.NAME (e, l)`, belong to the condition of every caption. All are
        stored in the dtypes of the cache's header. ValueError if they are not the tensors that it names.
        """
        parts, rows = condition.parts(), [0] * len(condition)
        if (mask := parts.pop("mask", None)) is not None:
            parts["tokens"], rows = parts["tokens"][mask], mask.sum(1).tolist()
        shared = {name: part[None] if is_part(name) else part for name, part in (extra or {}).items()}
        made = {"latents" if latents.is_floating_point() else "codes": latents, **parts, **shared}
        if made.keys() != self.dtypes.keys():
            raise ValueError(f"expected the tensors of {self.folder / HEADER}, {', '.join(sorted(self.dtypes))}; came {', '.join(sorted(made))}")
        stored = {f"{item['id']}/{name}": part.to("cpu", self.dtypes[name], copy=True).contiguous() for name, part in made.items()}
        size = sum(tensor.nbytes for tensor in stored.values())
        if self.items and (self.bytes + size > self.shard_bytes or time.monotonic() - self.since > self.shard_seconds):
            self.flush()
        self.tensors |= stored
        row = {**item, "frames": latents.shape[-1], "lengths": rows}
        self.items.append({**row, "crc": checksum(row, {name.partition("/")[2]: tensor for name, tensor in stored.items()})})
        self.bytes += size

    def flush(self) -> None:
        """Writes what was added since the last shard as a shard."""
        if self.items:
            name = f"shard-{self.number:05}-{self.rank:03}"
            shard = self.folder / f"{name}.safetensors"
            try:
                write_tensors(shard, self.tensors)
                _write_json(self.folder / f"{name}.json", [with_row(item, shard.name) for item in self.items])
            except OSError as error:
                raise OSError(f"{error}; the shards before it are kept, the same command goes on from there") from error
            self.number += 1
        self.tensors, self.items, self.bytes, self.since = {}, [], 0, time.monotonic()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps the cache for one command at a time; ValueError if another has it, or for a folder of something else, which stays as it is."""
    if folder.is_dir() and not (folder / HEADER).exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise ValueError(NO_CACHE.format(folder))
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.locked(folder / LOCK))
        except locks.Locked as error:
            raise ValueError(f"{folder}: {error.holder} is writing to this cache; wait for it or stop it") from None
        yield


def begin(folder: Path, header: Mapping[str, Any]) -> None:
    """Makes the cache, or checks that it was made with the same; what a killed process left half is removed."""
    sweep(folder, HEADER, alone=True)
    if (folder / HEADER).exists():
        check_header(folder, header, f"remove {folder} or name another folder as data.cache")
    elif any(path.name != LOCK for path in folder.iterdir()):
        raise ValueError(NO_CACHE.format(folder))
    else:
        _write_json(folder / HEADER, {"format": FORMAT, **header, "crc": crc_of(header)})
    used = {item["shard"] for item in forget_broken(folder, read_items(folder))}
    sweep(folder, alone=True)
    for path in folder.glob("shard-*.safetensors"):
        if path.name not in used:
            path.unlink()


def forget_broken(folder: Path, items: list[Item]) -> list[Item]:
    """The items whose shards are there and open; the others, which a line names, are dropped and so encoded again."""
    names: dict[str, set[str]] = {}
    for item in items:
        names.setdefault(item["shard"], set()).add(item["id"])
    broken = {shard for shard, ids in names.items() if not ids <= ids_in(folder / shard)}
    if not broken:
        return items
    logger.warning("%s is damaged or missing; what it held is encoded again", ", ".join(str(folder / shard) for shard in sorted(broken)))
    items = [item for item in items if item["shard"] not in broken]
    for shard in broken:
        (folder / shard).with_suffix(".json").unlink(missing_ok=True)
    _write_json(folder / INDEX, items)
    return items


def read_header(folder: str | Path) -> dict[str, Any]:
    """What a cache was made with; FileNotFoundError where there is no cache."""
    folder = Path(folder)
    if not (folder / HEADER).is_file():
        raise FileNotFoundError(f"no latent cache in {folder}; run `mousai cache` first")
    header = _read_json(folder / HEADER, dict)
    if (version := header.pop("format", None)) not in (1, FORMAT):
        raise ValueError(f"{folder / HEADER}: expected format {FORMAT}, came {version}; it needs another version of mousai")
    advice = f"remove {folder} and run `mousai cache` again"
    if header.pop("crc", None) not in (None, crc_of(header)):  # those of earlier versions have none
        raise ValueError(f"{folder / HEADER} is damaged: it is not what was written; {advice}")
    tensors = FIRST_TENSORS if version == 1 else header.get("tensors")
    if not isinstance(tensors, dict) or not all(isinstance(getattr(torch, str(dtype), None), torch.dtype) for dtype in tensors.values()):
        raise ValueError(f"{folder / HEADER} is damaged: its tensors are no names with dtypes; {advice}")
    if wrong := [name for name in NUMBERS if name in header and not (type(header[name]) is int and header[name] > 0)]:
        raise ValueError(f"{folder / HEADER} is damaged: its {wrong[0]} is no whole number above 0; {advice}")
    return {**header, "tensors": tensors}


def check_header(folder: str | Path, expected: Mapping[str, Any], advice: str) -> None:
    """ValueError if the cache was made with anything else than `expected`, the codec first."""
    header = read_header(folder)
    if "codec" in expected and header["codec"] != expected["codec"]:
        raise ValueError(f"latent cache {folder} was made by codec {header['codec']}, the recipe uses {expected['codec']}; {advice}")
    for key, value in expected.items():
        if header.get(key) != value:
            raise ValueError(f"latent cache {folder} was made with {key} {header.get(key)}, the recipe has {value}; {advice}")


def read_items(folder: str | Path) -> list[Item]:
    """The items of a cache, in the order of their ids; where one was made twice, the later."""
    folder = Path(folder)
    items: dict[str, Item] = {}
    for path in ([folder / INDEX] if (folder / INDEX).exists() else []) + sorted(folder.glob("shard-*.json")):
        for item in _read_json(path, list):
            if not is_item(item):
                raise ValueError(f"{path} is damaged: {short(item)} is no item of a cache; remove {folder} and run `mousai cache` again")
            items[item["id"]] = item
    return [items[name] for name in sorted(items)]


def merge(folder: Path, keep: Mapping[str, set[str]]) -> list[Item]:
    """Writes the index of all shards; returns its items.

    `keep` has the ids that each source of this run still gives: its other items are dropped, and so are shards that no
    item needs.
    """
    items = [item for item in read_items(folder) if item["id"] in keep.get(item["source"], {item["id"]})]
    _write_json(folder / INDEX, items)
    used = {item["shard"] for item in items}
    for path in folder.glob("shard-*.json"):
        path.unlink()
    for path in folder.glob("shard-*.safetensors"):
        if path.name not in used:
            path.unlink()
    return items


class CacheReader:
    """Reads the tensors of items; shards are opened on first use, so that it can go to another process.

    An item is compared with its checksum when it is first read. Items of earlier versions have none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder, self.names = Path(folder), list(read_header(folder)["tensors"])
        self.shards: dict[str, Any] = {}
        self.checked: set[str] = set()

    def latents(self, item: Item, start: int = 0, frames: int | None = None) -> Tensor:
        """Latents `(d, frames)` from frame `start` on, float32; of a discrete codec its codes `(k, frames)`."""
        end = item["frames"] if frames is None else start + frames
        return floats(self._slice(item, "codes" if "codes" in self.names else "latents")[:, start:end])

    def condition(self, item: Item, caption: int, start: int = 0, frames: int | None = None) -> dict[str, Tensor]:
        """The parts of one caption's condition, without their batch axis: tokens `(n, e)`, all real, vectors `(e,)`, numbers `()`.

        Curves `(e, frames)` begin with frame `start`; beyond a curve's end its last value stays.
        """
        frames = item["frames"] - start if frames is None else frames
        parts = {}
        for name in filter(is_part, self.names):
            rows = self._slice(item, name)
            if name == "tokens":
                first = sum(item["lengths"][:caption])
                part = rows[first : first + item["lengths"][caption]]
            else:
                row = min(caption, rows.get_shape()[0] - 1)  # one row: the same for all captions
                part = rows[row : row + 1][0] if len(rows.get_shape()) < 3 else cut(rows, row, start, frames)
            parts[name] = floats(part)
        return parts

    def tensor(self, item: Item, name: str) -> Tensor:
        """A whole tensor of an item as it is stored."""
        return self._slice(item, name)[:]

    def _slice(self, item: Item, what: str) -> Any:
        path = self.folder / item["shard"]
        try:
            if path not in self.shards:
                self.shards[path] = safe_open(path, framework="pt")
            if item["id"] not in self.checked:
                self._check(item, path)
            return self.shards[path].get_slice(f"{item['id']}/{what}")
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} is missing; run `mousai cache` again") from None
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged ({error}); remove {self.folder} and run `mousai cache` again") from error

    def _check(self, item: Item, path: Path) -> None:
        tensors = {name: self.shards[path].get_tensor(f"{item['id']}/{name}") for name in self.names}
        if item.get("crc") not in (None, checksum(item, tensors)):
            raise ValueError(f"{path} is damaged (item {item['id']} does not have its checksum); remove {self.folder} and run `mousai cache` again")
        self.checked.add(item["id"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "shards": {}, "checked": set()}


def floats(tensor: Tensor) -> Tensor:
    """Floating-point tensors as float32, integers as they are."""
    return tensor.float() if tensor.is_floating_point() else tensor


def cut(curves: Any, row: int, start: int, frames: int) -> Tensor:
    """Frames `(e, frames)` of one of the stored `curves (rows, e, l)`, whose last value stays beyond its end."""
    length = curves.get_shape()[2]
    first = min(start, length - 1)
    curve = curves[row : row + 1, :, first : min(first + frames, length)][0]
    return pad(curve, (0, frames - curve.shape[1]), mode="replicate")


def _read_json(path: Path, kind: type) -> Any:
    return read_json(path, f"remove {path.parent} and run `mousai cache` again", kind, most=2**32)


def _write_json(path: Path, value: Any) -> None:
    write_json(path, value, indent=None)
