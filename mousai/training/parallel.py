"""One process, several copies (DDP) or one model split over the processes (FSDP2), behind the same call.

Sharding is torch's own `fully_shard`, so that it also runs, and is tested, on CPU processes over gloo.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from ema_pytorch import EMA
from torch import Tensor, nn

if TYPE_CHECKING:
    from mousai.training.config import TrainConfig

SHARD_PARAMETERS = 1_000_000  # a block of at least so many is gathered on its own


class LossOf(nn.Module):
    """A model whose forward pass is its loss, which is what DDP and FSDP hook into."""

    def __init__(self, model: nn.Module, loss: Callable) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        return self.loss(self.model, batch, generator)


def parallel(module: LossOf, average: EMA, accelerator: Accelerator, config: TrainConfig) -> tuple[nn.Module, LossOf]:
    """`module` ready for the accelerator's processes and device, and the averaged module of `average` on the same."""
    averaged = average.ema_model
    sharded = is_sharded(config)
    if sharded:
        for each in (module, averaged):
            split(each, accelerator)
    else:
        averaged.to(accelerator.device)
    if config.compile:
        module.compile()
    return (module if sharded else accelerator.prepare_model(module)), averaged


def is_sharded(config: TrainConfig) -> bool:
    """Whether the recipe or the launch file asks for FSDP; on a CPU Accelerate would silently make DDP of the latter."""
    return config.shard or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def split(module: nn.Module, accelerator: Accelerator) -> None:
    """Shards `module` in place, on the accelerator's device: its blocks one by one, then the rest."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if accelerator.num_processes < 2:
        raise ValueError("train.shard: there is one process, nothing to split over; start with accelerate launch or torchrun")
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for block in blocks(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh, reshard_after_forward=True)  # what is gathered for validation must not stay so


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost members of lists that are large and run by their own forward pass, as FSDP needs it."""
    for child in module.children():
        runs = type(child).forward is not nn.Module.forward
        if isinstance(module, nn.ModuleList) and runs and sum(p.numel() for p in child.parameters()) >= SHARD_PARAMETERS:
            yield child
        else:
            yield from blocks(child)


@contextmanager
def accumulating(module: nn.Module, accelerator: Accelerator, last: bool) -> Iterator[None]:
    """Gradients are exchanged between the processes only in the `last` forward pass of a step."""
    if hasattr(module, "set_requires_gradient_sync"):
        module.set_requires_gradient_sync(last)
        yield
    elif last:
        yield
    else:
        with accelerator.no_sync(module):
            yield
