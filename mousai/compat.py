"""Faults of other libraries that are mended before these are imported, each with what is wrong, since when and when it can go.

What a single caller works around stands with that caller.

**torchaudio 2.11, its compiled extension.** The wheel on the package index is linked against CUDA. Beside a CPU
build of torch, `import torchaudio` raises OSError (libc10_cuda.so is missing), and beside a torch for another CUDA
version it raises RuntimeError; transformers' T5 and BERT fail with it. Everything that mousai needs of torchaudio is
pure Python, and `torchaudio._extension.utils._load_lib` is documented to return False where the library is absent.
`make_torchaudio_extension_optional` has it return False as well where the library is there but cannot be loaded.
It can go when torchaudio has a CPU wheel, or loads its extension on first use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

EXTENSION_LOADER = "torchaudio._extension.utils"

# Why torchaudio goes without its extension, once torchaudio was imported; None where the extension works.
torchaudio_extension_error: Exception | None = None


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
