"""Faults of other libraries that are mended for all who use them, each with what is wrong, since when and when it can go.

What a single caller works around stands with that caller.

**torchaudio 2.11, its compiled extension.** The wheel on the package index is linked against CUDA. Beside a CPU
build of torch, `import torchaudio` raises OSError (libc10_cuda.so is missing), and beside a torch for another CUDA
version it raises RuntimeError; transformers' T5 and BERT fail with it. Everything that mousai needs of torchaudio is
pure Python, and `torchaudio._extension.utils._load_lib` is documented to return False where the library is absent.
`make_torchaudio_extension_optional` has it return False as well where the library is there but cannot be loaded.
It can go when torchaudio has a CPU wheel, or loads its extension on first use.

**tokenizers, 0.23.3 at the latest, its panics.** A damaged tokenizer file may have its Rust code panic when a text is read,
long after it was loaded. A panic reaches Python as a BaseException, after a report of several lines that Rust itself writes
to descriptor 2. `without_panics` makes one ValueError of it, and of what is written there meanwhile it leaves out that report
alone; it holds the descriptor and a lock, and so goes around the reading of texts and nothing longer. `panics_told` makes
the ValueError alone. Both can go when tokenizers raises errors for such files.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

EXTENSION_LOADER = "torchaudio._extension.utils"

# Why torchaudio goes without its extension, once torchaudio was imported; None where the extension works.
torchaudio_extension_error: Exception | None = None

_one_at_a_time = threading.Lock()  # descriptor 2 is the process's


class TorchaudioExtensionFinder(MetaPathFinder):
    """Finds the one module that loads torchaudio's library and makes its `_load_lib` tolerant."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != EXTENSION_LOADER:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_relax(module: ModuleType) -> None:
            execute(module)
            if hasattr(module, "_load_lib"):
                module._load_lib = tolerant(module)

        spec.loader.exec_module = execute_and_relax  # type: ignore[method-assign]
        return spec


def tolerant(module: ModuleType) -> Callable[[str], bool]:
    """`module._load_lib` that returns False, and keeps the reason, where loading fails or the CUDA versions differ."""
    load = module._load_lib

    def load_lib(lib: str) -> bool:
        global torchaudio_extension_error
        try:
            loaded = load(lib)
            if loaded and lib == "_torchaudio" and load("libtorchaudio"):
                module._check_cuda_version()  # torchaudio would call it next, where a failure cannot be caught
        except (OSError, RuntimeError) as error:
            torchaudio_extension_error = error
            return False
        return loaded

    return load_lib


def make_torchaudio_extension_optional() -> None:
    """Installs the finder, once; without effect on a torchaudio that is imported already. Imports nothing heavy."""
    if not any(isinstance(finder, TorchaudioExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchaudioExtensionFinder())


@contextmanager
def panics_told(what: str) -> Iterator[None]:
    """ValueError that says that `what` is damaged in the place of a panic, or of the bare Exception that tokenizers raises, within the block."""
    try:
        yield
    except BaseException as error:
        if not _is_panic(error):
            raise
        raise ValueError(f"{what} is damaged: {' '.join(str(error).split())[:120]}") from None


@contextmanager
def without_panics(what: str) -> Iterator[None]:
    """As `panics_told`, and the report of a panic is not written; one block at a time in a process, so a short one."""
    with panics_told(what), _one_at_a_time:
        held, panic = _hold(), None
        try:
            yield
        except BaseException as error:
            panic = error if _is_panic(error) else None
            raise
        finally:
            _release(held, panic)


def _is_panic(error: BaseException) -> bool:
    return type(error).__name__ == "PanicException" or type(error) is Exception  # which tokenizers raises for what it does find


def without_report(said: bytes, panic: str) -> bytes:
    """What was written to descriptor 2 without the report of a panic with this message, however often it is there."""
    report = rb"\n?thread '[^'\n]*' (?:\(\d+\) )?panicked at [^\n]*\n" + re.escape(panic.encode()) + rb"\n(?:stack backtrace:\n(?: +[^\n]*\n)*)?(?:note: [^\n]*RUST_BACKTRACE[^\n]*\n)?"
    return re.sub(report, b"", said)


def _hold() -> tuple[int, int] | None:
    """Has descriptor 2 be a file of ours; the one that it was, and ours. None where that cannot be done."""
    try:
        sys.stderr.flush()
        before = os.dup(2)
    except (OSError, AttributeError, ValueError):  # closed, or not there
        return None
    try:
        with tempfile.TemporaryFile() as file:
            ours = os.dup(file.fileno())
    except OSError:
        os.close(before)
        return None
    os.dup2(ours, 2)
    return before, ours


def _release(held: tuple[int, int] | None, panic: BaseException | None) -> None:
    """Gives descriptor 2 back, and writes there what was written meanwhile."""
    if held is None:
        return
    before, ours = held
    sys.stderr.flush()
    os.dup2(before, 2)
    os.close(before)
    with os.fdopen(ours, "rb") as file:
        file.seek(0)
        said = file.read()
    said = said if panic is None else without_report(said, str(panic))
    while said:
        said = said[os.write(2, said) :]
