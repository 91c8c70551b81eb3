"""Files of tensors that can be made again: safetensors with a CRC-32 of all that they hold, so that damage is found when they are read."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mousai.files import write_tensors

if TYPE_CHECKING:
    from torch import Tensor

SEAL = "crc"


def write_sealed(path: Path, tensors: Mapping[str, Tensor], said: Mapping[str, str] | None = None) -> None:
    """Writes tensors on the CPU, and what is `said` of them, whole or not at all."""
    said = dict(said or {})
    write_tensors(path, tensors, said | {SEAL: str(_crc(tensors, said))})


def read_sealed(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and what is said of them; ValueError where they are not what was written. Files of earlier versions do not tell."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            said = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    if said.pop(SEAL, None) not in (None, str(_crc(tensors, said))):
        raise ValueError(f"{path} is damaged: it does not have its checksum")
    return tensors, said


def _crc(tensors: Mapping[str, Tensor], said: Mapping[str, str]) -> int:
    import torch

    rows = sorted(tensors.items())
    crc = zlib.crc32(json.dumps([dict(said), [[name, list(value.shape), str(value.dtype)] for name, value in rows]], sort_keys=True).encode())
    for _, value in rows:
        crc = zlib.crc32(value.contiguous().view(-1).view(torch.uint8).numpy(), crc) if value.numel() else crc
    return crc
