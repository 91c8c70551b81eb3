"""The items of a latent cache, as its indices have them: what is one, and the checksums that say whether it is as it was written."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

NAMES = ("id", "source", "split", "shard")
SHARD = re.compile(r"shard-\d+-\d+\.safetensors")

Item = dict[str, Any]  # id, source, track, hash, segment, split, shard, frames, captions, lengths (tokens a caption), crc, row, metadata


def is_part(name: str) -> bool:
    """Whether a tensor of that name is a part of a condition."""
    return name == "tokens" or name.partition(".")[0] in ("vectors", "numbers", "curves")


def is_item(row: Any) -> bool:
    """Whether a row of an index is an item as this cache writes it: with a shard of this folder, and numbers that can be."""
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in NAMES):
        return False
    lengths = row.get("lengths")
    counts = [row.get("frames"), *lengths] if isinstance(lengths, list) else [None]
    whole = row.get("row") in (None, _crc_of_row(row))  # items of earlier versions have none
    return whole and bool(SHARD.fullmatch(row["shard"])) and all(type(count) is int and count >= 0 for count in counts)


def with_row(item: Item, shard: str) -> Item:
    """An item with its shard and the checksum of all the rest of its row."""
    return {**item, "shard": shard, "row": _crc_of_row(item)}


def _crc_of_row(row: Item) -> int:
    return crc_of({name: value for name, value in row.items() if name not in ("shard", "row")})


def crc_of(value: Any) -> int:
    """The CRC-32 of a value of JSON, whatever the order of its keys."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def checksum(item: Item, tensors: Mapping[str, Tensor]) -> int:
    """The CRC-32 of an item's tensors, as they are stored, and of what is needed to read them."""
    crc = zlib.crc32(json.dumps([item["id"], item["frames"], item["lengths"]]).encode())
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy(), crc)
    return crc


def ids_in(shard: Path) -> set[str]:
    """The ids of the items that a shard has, by its own header; none of one that cannot be opened."""
    try:
        with safe_open(shard, framework="pt") as file:
            return {key.partition("/")[0] for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return set()
