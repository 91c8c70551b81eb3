"""A vector of a joint text–music space as a file's recipe has it: half precision in Base64, some 700 letters for 256 numbers."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MOST_FEATURES = 2**14


def packed(vector: Tensor) -> str:
    """The text of a vector `(e,)`."""
    import torch

    return base64.b64encode(vector.detach().to("cpu", torch.float16).numpy().astype("<f2").tobytes()).decode("ascii")


def unpacked(text: str) -> Tensor:
    """The vector `(e,)` float32 of a text; ValueError where it is none."""
    import numpy
    import torch

    try:
        found = numpy.frombuffer(base64.b64decode(text, validate=True), "<f2")
    except (binascii.Error, ValueError, TypeError) as error:
        raise ValueError(f"vector: expected half-precision numbers in Base64 ({error})") from error
    return checked_vector(torch.from_numpy(found.astype("float32")))


def checked_vector(vector: Tensor) -> Tensor:
    """The vector; ValueError unless it is finite numbers, not too many."""
    if not 1 <= vector.numel() <= MOST_FEATURES or not bool(vector.isfinite().all()):
        raise ValueError(f"vector: expected 1 to {MOST_FEATURES} finite numbers, came {vector.numel()}")
    return vector


def as_kept(vectors: Tensor) -> Tensor:
    """Vectors as a file's recipe keeps them: what is made with them can be made again from it."""
    return vectors.half().float()
