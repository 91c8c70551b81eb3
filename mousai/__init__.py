"""mousai: text to music with a cascade of latent diffusion models.

`mousai.load(path_or_name)` gives a `mousai.Cascade`. Both are found on first use, so that `import mousai` is quick and
loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mousai import compat

if TYPE_CHECKING:
    from mousai.pipelines.cascade import Cascade, load

__version__ = "0.1.0"
__all__ = ["Cascade", "__version__", "load"]

compat.make_torchaudio_extension_optional()


def __getattr__(name: str) -> object:
    if name in ("Cascade", "load"):
        from mousai.pipelines import cascade

        return getattr(cascade, name)
    raise AttributeError(f"module 'mousai' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
