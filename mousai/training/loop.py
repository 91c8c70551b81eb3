"""The training loop: batch, loss, backward, clip, step, average, log, save. It knows `loss(batch)` and nothing of music.

Everything random in a step comes from (seed, step, process), so that a run that was stopped and started again
equals one that was not. Optimizer settings are those of Moûsai (arXiv 2301.11757, section 4).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached

from mousai.launch.interrupt import Interrupt
from mousai.launch.processes import processes
from mousai.randomness import generator_of, seeded
from mousai.training.budget import Budget
from mousai.training.clipping import ZClip
from mousai.training.config import TrainConfig
from mousai.training.ema import average_of
from mousai.training.parallel import LossOf, accumulating, is_sharded, parallel
from mousai.training.report import Report
from mousai.training.spectral import follow, reparametrise
from mousai.training.state import TrainingState

Batch = Mapping[str, Tensor]
Loss = Callable[[nn.Module, Batch, torch.Generator], tuple[Tensor, Mapping[str, Tensor]]]


@dataclass(frozen=True)
class Outcome:
    """How far a run came and what stopped it."""

    step: int
    reason: Literal["done", "time limit", "signal"]


class NonFiniteLoss(ValueError):
    """The loss or its gradient is infinite or not a number; the weights on disk are those from before."""


def accelerator_for(config: TrainConfig, folder: str | Path) -> Accelerator:
    """The Accelerator that `train` works on: device, processes, precision and trackers; ImportError for one that is not installed."""
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if config.precision is None and launched not in ("no", "bf16"):
        raise ValueError(f"the launcher asks for {launched}; training is done in fp32 or bf16: give --mixed_precision bf16, or set train.precision")
    precision = {"fp32": "no", "bf16": "bf16", None: None}[config.precision]
    accelerator = processes(mixed_precision=precision, log_with=list(config.trackers) or None, project_dir=str(folder))
    absent = set(config.trackers) - {"all", *map(str, accelerator.log_with)}  # Accelerate leaves them out silently
    if absent:
        hint = "pip install 'mousai[tensorboard]'" if "tensorboard" in absent else "install the package of that name"
        raise ImportError(f"train.trackers: {', '.join(sorted(absent))} cannot be imported: {hint}, or take it off the list")
    return accelerator


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of optimizer step `step` (from 0): a function of the step alone.

    Linear warm-up, then constant, then half a cosine down to `final_lr * lr`.
    """
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = config.steps - config.warmup_steps if config.decay_steps is None else config.decay_steps
    progress = min(1.0, max(0.0, (step + 1 - (config.steps - fall)) / max(1, fall)))
    level = config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))
    return config.lr * rise * level


def train(
    model: nn.Module,
    loss: Loss,
    batches: Callable[[int], Iterator[Batch]],
    config: TrainConfig,
    folder: str | Path,
    accelerator: Accelerator,
    *,
    seed: int = 0,
    valid: Callable[[], Iterable[Batch]] | None = None,
    sample: Callable[[nn.Module, int], Mapping[str, object]] | None = None,
    finish: Callable[[], object] | None = None,
    meta: Mapping[str, object] | None = None,
    accepted: Callable[[], object] | None = None,
    began: float | None = None,
) -> Outcome:
    """Trains `model` until `config.steps`, the time limit or a signal, and saves its state under `folder/state`.

    `loss(model, batch, generator)` returns a scalar and scalars to log, with its noise from `generator` (on
    the CPU, as everywhere). `batches(first)` yields this process's batches from number `first` on, counted over forward
    passes. `valid()` yields the validation batches. `sample(model, step)` gets the averaged model and returns
    {name: (audio, sample_rate) | picture} for the trackers. A state in `folder` is taken up. `meta` is kept with the state.
    `accepted()` is called in the first process when all of that is as it has to be and nothing is written yet.
    With `config.minutes`, counted from the monotonic clock's `began`, the steps are planned (budget.py); `finish()`, what
    the caller does after the last step, is then called once on the way, to time it.
    NonFiniteLoss stops a run whose loss is no number, OSError one that the disk does not take; both say which state is kept.
    """
    device, rank = accelerator.device, accelerator.process_index
    freeze(model, config.freeze)
    if config.sigma_reparam:
        if is_sharded(config):
            raise ValueError("train.sigma_reparam: a matrix that is split over processes has no norm in any of them; set it to false")
        reparametrise(model)
    inner = LossOf(model, loss)
    average = average_of(inner, config.ema)
    module, averaged = parallel(inner, average, accelerator, config)
    if sample is not None and config.sample_every and is_sharded(config):
        raise ValueError("train.sample_every: a model that is split over processes cannot sample; set it to 0")
    optimizer = torch.optim.AdamW(
        [p for p in module.parameters() if p.requires_grad],
        config.lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay,
    )  # fmt: skip
    zclip = ZClip(config.zclip) if config.zclip is not None else None
    state = TrainingState(Path(folder) / "state", inner, average, optimizer, accelerator, zclip)
    step = state.load()
    stream = batches(step * config.accumulate)
    module.train()
    budget = Budget(config, folder, accelerator, step, began)
    if accepted is not None and accelerator.is_main_process:
        accepted()

    with Interrupt(config.time_limit_minutes) as interrupt, state.kept(), Report(config, folder, accelerator, step) as report:
        while not budget.is_last(step):
            config = budget.settings(step)
            report.follow(config, budget.steps)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step)
            if config.sigma_reparam:
                follow(inner)

            total, logs = torch.zeros((), device=device), []
            for micro in range(config.accumulate):
                batch = {name: value.to(device, non_blocking=True) for name, value in next(stream).items()}
                key = (seed, step, micro, rank)
                with accumulating(module, accelerator, last=micro == config.accumulate - 1), seeded(key, device):
                    with accelerator.autocast():
                        value, parts = module(batch, generator_of(key))
                    accelerator.backward(value / config.accumulate)
                total += value.detach() / config.accumulate
                logs.append(parts)
            norm = gradient_norm(module, config.clip, zclip.limit if zclip is not None else math.inf)

            total, norm, stop = agree(accelerator, total, norm, interrupt.signalled, interrupt.requested or budget.is_spent)
            if not math.isfinite(total) or not math.isfinite(norm):
                raise NonFiniteLoss(
                    f"step {step}: the loss is {total} and its gradient's norm {norm}; {state.kept_as}: "
                    "lower train.lr or train.clip, raise train.warmup_steps, or look at the data, and run the same command again"
                )
            if zclip is not None:
                zclip.update(norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update()
            step += 1

            report.step(step, total, norm, learning_rate(config, step - 1), logs)
            report.note(budget.look(step))
            trial = budget.is_trial(step)
            also = trial or budget.is_last(step)  # beside the steps at which it is time
            if valid is not None and config.valid_every and (also or step % config.valid_every == 0):
                with budget.timed("valid"), cached():
                    report.valid(step, validation_loss(averaged, valid(), accelerator, seed))
            if sample is not None and config.sample_every and (also or step % config.sample_every == 0):
                with budget.timed("sample"), cached():
                    report.sample(step, sample(averaged.model, step) if accelerator.is_main_process else {})
            if stop or also or step % config.save_every == 0:
                with budget.timed("save"):
                    report.note(f"saved {state.save(step, meta or {})}")
            if stop:
                report.note(f"stopped at {report.place(step)} ({interrupt.reason or stop}); the same command goes on from here")
                return Outcome(step, stop)
            if trial:
                with budget.timed("finish"):
                    if finish is not None and accelerator.is_main_process:
                        finish()
                report.note(budget.plan(step))
    return Outcome(step, "done")


def freeze(model: nn.Module, beginnings: Iterable[str]) -> None:
    """Excludes the weights whose names begin so from training; ValueError if there are none, or none are left."""
    for beginning in beginnings:
        named = [p for name, p in model.named_parameters() if name == beginning or name.startswith(beginning.rstrip(".") + ".")]
        if not named:
            parts = ", ".join(name for name, _ in model.named_children())
            raise ValueError(f"train.freeze: no weight's name begins with {beginning!r}; the parts are {parts}")
        for parameter in named:
            parameter.requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("train.freeze: nothing is left to train")


def gradient_norm(module: nn.Module, clip: float, limit: float = math.inf) -> Tensor:
    """The norm of the whole gradient, a scalar; above `clip` (if that is not 0) and `limit` the gradient is scaled down to them."""
    parameters = [p for p in module.parameters() if p.grad is not None]
    norm = nn.utils.clip_grad_norm_(parameters, min(clip if clip > 0 else math.inf, limit))
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


def agree(accelerator: Accelerator, loss: Tensor, norm: Tensor, signalled: bool, requested: bool) -> tuple[float, float, str]:
    """The mean loss over the processes, the norm, and what asks any process to stop ("" = nothing): the same on all."""
    asked = loss.new_tensor([float(signalled), float(requested)], dtype=torch.float32)
    values = torch.cat([torch.stack([loss.float(), norm.float()]), asked])
    if accelerator.num_processes > 1:
        values = accelerator.reduce(values, "mean")
    mean_loss, mean_norm, signalled, requested = values.tolist()
    return mean_loss, mean_norm, "signal" if signalled > 0 else "time limit" if requested > 0 else ""


@torch.no_grad()
def validation_loss(module: nn.Module, batches: Iterable[Batch], accelerator: Accelerator, seed: int) -> dict[str, float]:
    """Mean loss (and logs) over `batches`, with noise from the batch's number alone: comparable from step to step."""
    device, rank = accelerator.device, accelerator.process_index
    rows = []
    for index, batch in enumerate(batches):
        batch = {name: value.to(device) for name, value in batch.items()}
        key = (seed, -1, index, rank)
        with seeded(key, device), accelerator.autocast():
            value, parts = module(batch, generator_of(key))
        rows.append({"loss": value, **parts})
    names = sorted(rows[0])
    means = torch.stack([torch.stack([torch.as_tensor(row[name], device=device).float() for row in rows]).mean() for name in names])
    if accelerator.num_processes > 1:
        means = accelerator.reduce(means, "mean")
    return dict(zip(names, means.tolist()))
