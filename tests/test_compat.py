"""torchaudio's extension: absent, unloadable or for another CUDA, torchaudio is imported all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What torchaudio/_extension does on import.
EXTENSION = """
from .utils import _check_cuda_version, _load_lib
available = _load_lib("_torchaudio")
if available:
    if not _load_lib("libtorchaudio"):
        raise ImportError("Failed to load libtorchaudio")
    _check_cuda_version()
"""
UTILS = """
def _load_lib(lib):
    {load}
def _check_cuda_version():
    {check}
"""
SHOW = "import torchaudio._extension as e; from mousai import compat; print(e.available, compat.torchaudio_extension_error)"


def import_fake(folder: Path, load: str, check: str, program: str) -> subprocess.CompletedProcess:
    """Runs a program beside a torchaudio whose library loads, and whose check runs, as given."""
    package = folder / "torchaudio" / "_extension"
    package.mkdir(parents=True)
    (folder / "torchaudio" / "__init__.py").write_text("from . import _extension")
    (package / "__init__.py").write_text(EXTENSION)
    (package / "utils.py").write_text(UTILS.format(load=load, check=check))
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)


CANNOT_LOAD = "raise OSError('libc10_cuda.so: cannot open shared object file')"
OTHER_CUDA = "raise RuntimeError('compiled with different CUDA versions')"


@pytest.mark.parametrize(
    ("load", "check", "shown"),
    [
        (CANNOT_LOAD, "pass", "False libc10_cuda.so: cannot open shared object file"),
        ("return True", OTHER_CUDA, "False compiled with different CUDA versions"),
        ("return True", "pass", "True None"),
        ("return False", "pass", "False None"),
    ],
)
def test_the_library_is_used_where_it_works_and_only_there(tmp_path: Path, load: str, check: str, shown: str) -> None:
    done = import_fake(tmp_path, load, check, f"import mousai; {SHOW}")
    assert done.stdout.strip() == shown, done.stderr


def test_without_the_hook_such_a_library_is_fatal(tmp_path: Path) -> None:
    """Should this pass one day with the real torchaudio, the hook can go."""
    done = import_fake(tmp_path, CANNOT_LOAD, "pass", "import torchaudio")
    assert done.returncode == 1 and "libc10_cuda" in done.stderr


def test_other_faults_of_torchaudio_are_not_hidden(tmp_path: Path) -> None:
    done = import_fake(tmp_path, "raise KeyError('a fault')", "pass", f"import mousai; {SHOW}")
    assert done.returncode == 1 and "KeyError" in done.stderr


def test_the_hook_is_installed_once() -> None:
    from mousai import compat

    compat.make_torchaudio_extension_optional()
    assert sum(isinstance(finder, compat.TorchaudioExtensionFinder) for finder in sys.meta_path) == 1


def test_the_real_torchaudio_is_imported_and_resamples() -> None:
    import torch
    import torchaudio

    tone = torch.sin(torch.arange(4800) * 0.1)
    assert torchaudio.functional.resample(tone, 48_000, 24_000).shape == (2400,)
