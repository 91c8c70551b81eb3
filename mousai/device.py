"""Which device and which precision a command uses, said by name or found out."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

CGROUP = Path("/sys/fs/cgroup")
MEMORY = Path("/proc/meminfo")
WINDOWS_AT_ONCE = {"cuda": 8}  # of a stream of latents; elsewhere 1: on a CPU more are slower
DTYPES = ("float32", "bfloat16", "float16")
SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name such as "cpu", "cuda" or "cuda:1"; "auto" is the first CUDA device, else the CPU.

    ValueError for a device that this machine, or this build of torch, does not have.
    """
    import torch

    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    have = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        have.append("mps:0")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: this machine has {', '.join(have)}") from error
    if device.type != "cpu" and device.index is None:
        device = torch.device(device.type, 0)
    if str(device) not in have:
        raise ValueError(f"no device {name!r}: this machine has {', '.join(have)}")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The floating-point type of a name from `DTYPES`, or short as in "bf16"; "auto" is bfloat16 on a CUDA device that computes in it, else float32."""
    import torch

    name = SHORT.get(name, name)
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if fast else torch.float32
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {name!r}: expected auto, {', '.join(DTYPES)}")
    if name == "float16" and device.type == "cpu":
        raise ValueError("float16 is too slow and too coarse on the CPU: use float32 or bfloat16")
    return getattr(torch, name)


def windows_at_once(device: torch.device) -> int:
    """How many windows of latents are decoded at once on a device."""
    return WINDOWS_AT_ONCE.get(device.type, 1)


def memory_left(device: torch.device) -> int | None:
    """Bytes that are free on a device, for the CPU within the container's limit; None where nobody says."""
    import torch

    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type != "cpu":
        return None
    try:
        lines = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines())
        left = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None
    try:
        most, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return left if most == "max" else min(left, int(most) - int(used))
    except (OSError, ValueError):
        return left


def device_of(module: nn.Module) -> torch.device:
    """Where a module's weights are; the CPU for one that has none."""
    import torch

    return next((tensor.device for tensor in itertools.chain(module.parameters(), module.buffers())), torch.device("cpu"))


def limit_threads() -> None:
    """Brings torch's threads down to the processors' time that a container's quota allows, unless OMP_NUM_THREADS is set.

    More threads than that are stopped in the middle of their work, with the others waiting for them.
    """
    import torch

    allowed = _quota()
    if allowed is not None and "OMP_NUM_THREADS" not in os.environ and allowed < torch.get_num_threads():
        torch.set_num_threads(allowed)


def _quota() -> int | None:
    """How many processors the control group's quota comes to, at least one; None without a quota (cgroups 2, then 1)."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((CGROUP / file).read_text() for file in files).split()
        except (OSError, ValueError):
            continue
        return math.ceil(int(quota) / int(period)) if quota.isdigit() and int(quota) > 0 else None
    return None
