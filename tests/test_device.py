"""Device and precision by name: what is there is chosen, what is not is an error that says what is."""

from __future__ import annotations

import pytest
import torch

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
