"""A training run of nobody else's processes, and the script of a small one."""

import importlib.util
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState


@pytest.fixture(autouse=True)
def fresh_accelerator():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def run_tiny():
    """The module `run_tiny.py`."""
    spec = importlib.util.spec_from_file_location("run_tiny", Path(__file__).with_name("run_tiny.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
