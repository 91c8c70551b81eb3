"""A library: the tracks of a source with a vector each, kept where what can be made again is kept.

The vectors follow from a joint encoder's fingerprint and a file's content; only files that are new or have changed need to be heard.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mousai.data.index import cache_folder
from mousai.data.sealed import read_sealed, write_sealed

logger = logging.getLogger(__name__)


@dataclass
class Library:
    """Unit vectors `(e,)` by the hash of their file's content; `path` is None where there is no place for them."""

    path: Path | None
    vectors: dict[str, Tensor] = field(default_factory=dict)
    changed: bool = False

    def add(self, content: str, vector: Tensor) -> None:
        self.vectors[content] = vector.float().cpu()
        self.changed = True

    def save(self) -> None:
        """Writes what was added; says in a line where that cannot be done."""
        if not self.changed:
            return
        try:
            if self.path is None:
                raise OSError("there is no home folder; set MOUSAI_CACHE")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(self.path, self.vectors)
            self.changed = False
        except OSError as error:
            logger.warning("the vectors of the library cannot be kept, its files will be heard again: %s", error)


def open_library(space: str, features: int) -> Library:
    """What has been heard by the joint encoder of this fingerprint; what is damaged is heard anew, which a line says."""
    try:
        name = hashlib.blake2b(space.encode(), digest_size=8).hexdigest()
        library = Library(cache_folder() / "library" / f"{name}.safetensors")
    except RuntimeError:  # nobody knows where home is
        return Library(None)
    if library.path.is_file():
        try:
            found, _ = read_sealed(library.path)
            library.vectors = {key: vector for key, vector in found.items() if vector.shape == (features,) and bool(vector.isfinite().all())}
        except (ValueError, OSError) as error:
            logger.warning("the library is heard anew: %s", error)
    return library


def nearest(vectors: Tensor, wanted: Tensor, k: int) -> list[tuple[int, float]]:
    """The places and cosines of the k of `vectors (n, e)` nearest to `wanted (e,)`."""
    found = (vectors @ wanted).topk(min(k, len(vectors)))
    return list(zip(found.indices.tolist(), found.values.tolist()))


def stacked(library: Library, contents: list[str]) -> Tensor:
    """The vectors `(n, e)` of files by their contents."""
    return torch.stack([library.vectors[content] for content in contents])
