"""mousai: text to music with a cascade of latent diffusion models.

`mousai.load(path_or_name)` gives a `mousai.Cascade`, or a `mousai.Symbolic` that composes scores. They are found on first use, so that `import mousai` is quick and
loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mousai import compat

if TYPE_CHECKING:
    from mousai.pipelines.cascade import Cascade
    from mousai.pipelines.load import load
    from mousai.pipelines.symbolic import Symbolic

__version__ = "0.1.0"
__all__ = ["Cascade", "Symbolic", "__version__", "load"]

compat.make_torchaudio_extension_optional()


def __getattr__(name: str) -> object:
    places = {"Cascade": "cascade", "Symbolic": "symbolic", "load": "load"}
    if name in places:
        return getattr(importlib.import_module(f"mousai.pipelines.{places[name]}"), name)
    raise AttributeError(f"module 'mousai' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
