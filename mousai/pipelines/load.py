"""`mousai.load`: whichever system a model folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mousai import checkpoint
from mousai.pipelines import cascade, symbolic


def load(path_or_name: str | Path, device: Any = None, dtype: Any = None, *, trust: bool = False, download: bool = False, compile: bool = False) -> cascade.Cascade | symbolic.Symbolic:
    """The cascade, or the composer of scores, of a model folder or of a shipped model's name such as "starter" or "starter-symbolic".

    The arguments are those of `pipelines.cascade.load`; a composer computes on the CPU in float32, and ValueError says so where something else is asked for.
    FileNotFoundError or ValueError says what is wrong.
    """
    if "prior" not in checkpoint.load_config(checkpoint.model_folder(path_or_name)):
        return cascade.load(path_or_name, device, dtype, trust=trust, download=download, compile=compile)
    where, precision = cascade.place_and_precision(device or "cpu", dtype or "float32")
    if where.type != "cpu" or str(precision) != "torch.float32" or compile:
        raise ValueError(f"{path_or_name}: a composer of scores computes on the CPU in float32, uncompiled; leave device, dtype and compile away")
    return symbolic.load(path_or_name)
