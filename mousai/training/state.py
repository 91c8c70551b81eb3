"""What a resumed run needs to equal an uninterrupted one: weights, their average, the optimizer and the step.

Data position, learning rate and noise follow from the step. Full tensors go through torch.distributed.checkpoint's state
dicts, so that a state is the same file from one process, DDP or FSDP, and each can take up another's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from ema_pytorch import EMA
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as dcp
from torch.distributed.tensor import DTensor, distribute_tensor

from mousai import checkpoint
from mousai.training.clipping import ZClip

WHOLE = dcp.StateDictOptions(full_state_dict=True, cpu_offload=True)
LOAD = dcp.StateDictOptions(full_state_dict=True, strict=False)  # a weight without a gradient so far has no state yet


ZCLIP = {"count": int, "mean": float, "variance": float}  # what is kept of a ZClip; a state that was made without begins anew


class NonFiniteState(ValueError):
    """What a state is made of is infinite or not a number; the one on disk is from before."""


class TrainingState:
    """The state of a run under `folder`, one sub-folder a step, the newest kept; `module` is not wrapped in DDP."""

    def __init__(self, folder: Path, module: nn.Module, average: EMA, optimizer: torch.optim.Optimizer, accelerator: Accelerator,
                 zclip: ZClip | None = None) -> None:  # fmt: skip
        self.folder, self.module, self.average, self.optimizer, self.accelerator, self.zclip = folder, module, average, optimizer, accelerator, zclip
        self.saved_step: int | None = None

    @property
    def saved_as(self) -> str:
        """The newest state on disk, in words."""
        return f"step {self.saved_step} in {self.folder}" if self.saved_step is not None else "no step"

    @property
    def kept_as(self) -> str:
        """What is left of the run whatever happens now, in words."""
        return "nothing was saved yet" if self.saved_step is None else f"the state of {self.saved_as} is kept"

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Within the block an OSError, such as a full disk's, says which state is kept."""
        try:
            yield
        except OSError as error:
            said = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error.strerror or str(error)
            raise OSError(f"{said}; {self.kept_as}, the same command goes on from there") from error

    def load(self) -> int:
        """Takes up the newest state; returns its step, 0 if there is none. ValueError if it is of another model."""
        found = checkpoint.load_state(self.folder)
        if found is None:
            return 0
        step, tensors, meta = found
        self._check(tensors)
        fill(self.module, part(tensors, "model."))
        fill(self.average.ema_model, part(tensors, "ema."))
        settings = [{name: value for name, value in group.items() if name != "params"} for group in self.optimizer.param_groups]
        try:
            optimizer = unflatten(part(tensors, "optimizer."), meta["optimizer"])
            dcp.set_optimizer_state_dict(self.module, self.optimizer, optimizer, options=LOAD)
            self.average.step.fill_(meta["ema_step"])
            self.average.initted.fill_(meta["ema_step"] > 0)
            if self.zclip is not None:
                self.zclip.count, self.zclip.mean, self.zclip.variance = (kind(meta.get("zclip", {}).get(name, 0)) for name, kind in ZCLIP.items())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{self.folder}: the meta.json of step {step} does not fit the state ({type(error).__name__}: {error}); remove that step's folder") from error
        for group, own in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(own)  # the recipe's, not those that the state was made with
        self.saved_step = step
        return step

    def save(self, step: int, meta: Mapping[str, object]) -> str:
        """Writes the state of `step` beside and renames it; all processes call this, the first one writes.

        NonFiniteState, and nothing written, where any of it is infinite or not a number.
        """
        weights = dcp.get_model_state_dict(self.module, options=WHOLE)
        average = dcp.get_model_state_dict(self.average.ema_model, options=WHOLE)
        optimizer = dcp.get_optimizer_state_dict(self.module, self.optimizer, options=WHOLE)
        if self.accelerator.is_main_process:  # the others got nothing
            tensors = {f"model.{name}": value for name, value in weights.items()}
            tensors |= {f"ema.{name}": value for name, value in average.items()}
            tensors |= {f"optimizer.{kind}.{name}": value for name, kinds in optimizer["state"].items() for kind, value in kinds.items()}
            self._check_finite(step, tensors)
            meta = {**meta, "optimizer": optimizer["param_groups"], "ema_step": int(self.average.step)}
            if self.zclip is not None:
                meta["zclip"] = {name: getattr(self.zclip, name) for name in ZCLIP}
            checkpoint.save_state(self.folder, step, tensors, meta)
        self.accelerator.wait_for_everyone()
        self.saved_step = step
        return self.saved_as

    def _check_finite(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        for name, value in tensors.items():
            if value.is_floating_point() and not value.isfinite().all():
                raise NonFiniteState(f"step {step}: {name} holds what is no number any more; {self.kept_as}: lower train.lr or train.weight_decay, and run the same command again")

    def _check(self, tensors: Mapping[str, Tensor]) -> None:
        saved = {name: tuple(value.shape) for name, value in part(tensors, "ema.").items()}
        own = {name: tuple(value.shape) for name, value in self.average.ema_model.state_dict().items()}
        wrong = sorted(name for name in saved.keys() | own.keys() if saved.get(name) != own.get(name))
        if wrong:
            name = wrong[0]
            raise ValueError(
                f"{self.folder}: this training state is of another model: {name} is {saved.get(name, 'absent')} there and "
                f"{own.get(name, 'absent')} here ({len(wrong)} differ); use the recipe that it was made with, or another output folder"
            )


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copies whole tensors into a module, whose own may be sharded.

    torch's set_model_state_dict would do, were it not that it fails on tied weights under FSDP (torch 2.13).
    """
    for name, own in module.state_dict().items():
        value = tensors[name].to(own.device)
        own.copy_(distribute_tensor(value, own.device_mesh, own.placements) if isinstance(own, DTensor) else value)


def unflatten(tensors: Mapping[str, Tensor], groups: list[dict[str, object]]) -> dict[str, object]:
    """An optimizer's state dict from tensors named `kind.parameter` and its parameter groups as JSON keeps them."""
    state: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, parameter = name.partition(".")
        state.setdefault(parameter, {})[kind] = value
    return {"state": state, "param_groups": [{**group, "betas": tuple(group["betas"])} for group in groups]}
