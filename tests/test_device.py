"""Device and precision by name: what is there is chosen, what is not is an error that says what is."""

from __future__ import annotations

import pytest
import torch

from mousai import device
from mousai.device import choose_device, choose_dtype

CPU = torch.device("cpu")


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["cuda:99", "xpu", "gpu", "", "cuda:x"])
def test_a_device_that_is_not_there_is_an_error_that_names_those_that_are(name: str) -> None:
    with pytest.raises(ValueError, match="this machine has cpu") as caught:
        choose_device(name)
    assert repr(name) in str(caught.value) and "\n" not in str(caught.value)


def test_dtypes() -> None:
    assert choose_dtype("auto", CPU) == torch.float32
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    with pytest.raises(ValueError, match="float16 is too slow"):
        choose_dtype("float16", CPU)
    with pytest.raises(ValueError, match="unknown dtype 'int8'"):
        choose_dtype("int8", CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device() -> None:
    assert choose_device("cuda") == torch.device("cuda:0")
    assert choose_dtype("float16", torch.device("cuda:0")) == torch.float16


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_threads_keep_to_a_containers_quota(files, expected, tmp_path, monkeypatch) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    asked = []
    monkeypatch.setattr(device, "CGROUP", tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: asked[-1] if asked else 8)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    device.limit_threads()
    assert torch.get_num_threads() == expected
    asked.clear()
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    device.limit_threads()
    assert asked == []


def test_short_names_of_dtypes() -> None:
    assert choose_dtype("bf16", CPU) == torch.bfloat16 and choose_dtype("fp32", CPU) == torch.float32
