"""Latents that another cache of the same codec has: what is cached for another conditioner need not be encoded again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mousai.data.cache import CacheReader, Item, check_header, read_items

SAME = ("codec", "sample_rate", "hop", "latent_channels", "segment_seconds", "rms")  # of both caches


class KnownLatents:
    def __init__(self, folder: str | Path, header: Mapping[str, Any]) -> None:
        """ValueError or FileNotFoundError unless `folder` is a cache of the codec, segments and level that `header` says."""
        check_header(folder, {name: header[name] for name in SAME}, "its latents are of no use here")
        self.reader, self.items = CacheReader(folder), {item["id"]: item for item in read_items(folder)}

    def latents(self, items: Sequence[Item]) -> Tensor | None:
        """Those of all `items`, `(b, d, l)`; None unless all are there, of the same recordings."""
        stored = [self.items.get(item["id"]) for item in items]
        if any(found is None or found["hash"] != item["hash"] for found, item in zip(stored, items)):
            return None
        return torch.stack([self.reader.latents(item) for item in stored])
