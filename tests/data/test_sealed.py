"""Tensors that are kept: what was written comes back, and no changed byte of it goes unseen."""

from pathlib import Path

import pytest
import torch

from mousai.data.sealed import read_sealed, write_sealed
from mousai.files import write_tensors


def test_whichever_byte_is_another_is_found(tmp_path: Path) -> None:
    tensors, said = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2], dtype=torch.int32), "none": torch.zeros(0, 3)}, {"of": "scores"}
    path = tmp_path / "kept.safetensors"
    write_sealed(path, tensors, said)
    found, told = read_sealed(path)
    assert told == said and found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found, told = read_sealed(path)
        except ValueError as error:
            assert str(error).startswith(f"{path} is damaged")
        else:  # the seal's own name, without which nothing else is told
            assert told != said and all(torch.equal(found[name], tensors[name]) for name in tensors)
    write_tensors(path, tensors, said)  # as an earlier version did
    assert read_sealed(path)[1] == said
