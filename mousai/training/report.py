"""What a run says while it runs: a progress bar in a terminal, plain lines elsewhere, `log.jsonl`, and the trackers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mousai.files import append_text
from mousai.training.log import cut_log
from mousai.words import printable, say

if TYPE_CHECKING:
    from mousai.training.config import TrainConfig


class Report:
    """Used as a block around the loop; only the main process says anything."""

    def __init__(self, config: TrainConfig, folder: str | Path, accelerator: Accelerator, step: int) -> None:
        self.config, self.folder, self.accelerator = config, Path(folder), accelerator
        self.items_a_step = config.batch_size * config.accumulate * accelerator.num_processes
        self.since = (step, time.monotonic())
        self.total: int | None = config.steps
        self.losses: list[float] = []
        self.parts: list[Mapping[str, torch.Tensor]] = []
        console = Console(file=sys.stderr)
        shown = accelerator.is_main_process and console.is_terminal
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(elapsed_when_finished=True)]
        self.progress = Progress(*columns, console=console) if shown else None
        self.task = self.progress.add_task("training", total=config.steps, completed=step) if self.progress else None

    def __enter__(self) -> Report:
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            cut_log(self.folder / "log.jsonl", self.since[0])
        if self.config.trackers:
            self.accelerator.init_trackers("logs")
        if self.progress:
            self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.progress:
            self.progress.stop()
        for tracker in self.accelerator.trackers:  # not end_training, which also takes the processes apart
            tracker.finish()

    def follow(self, config: TrainConfig, total: int | None) -> None:
        """From now on the run logs as `config` says and has `total` steps, None while that is not known."""
        self.config, self.total = config, total
        if self.progress:
            self.progress.update(self.task, total=total)

    def step(self, step: int, loss: float, norm: float, lr: float, parts: Sequence[Mapping[str, object]]) -> None:
        """Notes a finished step; every `log_every` steps says the mean loss and its parts since, the speed and the time left."""
        self.losses.append(loss)
        self.parts += [{name: torch.as_tensor(value).detach() for name, value in part.items()} for part in parts]
        if self.progress:
            self.progress.update(self.task, completed=step)
        if step % self.config.log_every and step != self.total:
            return
        means = {"loss": sum(self.losses) / len(self.losses), **mean_of(self.parts)}
        first, began = self.since
        speed = (step - first) / max(1e-9, time.monotonic() - began)
        self.since, self.losses, self.parts = (step, time.monotonic()), [], []
        self.log(step, {**means, "gradient_norm": norm, "lr": lr, "steps_per_second": speed})
        shown = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        pace = f"{speed:.2f} steps/s  {speed * self.items_a_step:.1f} items/s"
        if self.progress:
            self.progress.update(self.task, description=f"{shown}  {pace}")
        else:
            left = "" if self.total is None else f"  left {timedelta(seconds=round((self.total - step) / speed))}"
            self.note(f"{self.place(step)}  {shown}  lr {lr:.2e}  {pace}{left}")

    def place(self, step: int) -> str:
        """How far the run is, in words."""
        return f"step {step}" if self.total is None else f"step {step}/{self.total}"

    def valid(self, step: int, values: Mapping[str, float]) -> None:
        """Says the validation loss."""
        self.log(step, {f"valid/{name}": value for name, value in values.items()})
        self.note(f"{self.place(step)}  valid  " + "  ".join(f"{name} {value:.4f}" for name, value in values.items()))

    def sample(self, step: int, samples: Mapping[str, object]) -> None:
        """Hands samples to TensorBoard: `(audio (c, s), sample_rate)` as sound, a picture `(h, w, 3)` as an image."""
        for tracker in self.accelerator.trackers if self.accelerator.is_main_process else []:
            if tracker.name != "tensorboard":
                continue
            for name, value in samples.items():
                if isinstance(value, tuple):
                    tracker.writer.add_audio(name, value[0].mean(0, keepdim=True).clamp(-1, 1), step, sample_rate=value[1])
                else:
                    tracker.writer.add_image(name, value, step, dataformats="HWC")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes values to `log.jsonl` and to the trackers."""
        if not self.accelerator.is_main_process:
            return
        row = {"step": step, **{name: float(f"{value:.6g}") for name, value in values.items()}}
        append_text(self.folder / "log.jsonl", json.dumps(row) + "\n")
        if self.config.trackers:
            self.accelerator.log(dict(values), step=step)

    def note(self, line: str) -> None:
        """One line for the reader; none for an empty one."""
        if not line:
            return
        if self.progress:
            self.progress.console.print(printable(line), highlight=False, markup=False)
        elif self.accelerator.is_main_process:
            say(line, to=sys.stderr)


def mean_of(parts: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, float]:
    """The mean of each named scalar, in the order of the names."""
    names = sorted({name for part in parts for name in part})
    return {name: float(torch.stack([part[name].float() for part in parts if name in part]).mean()) for name in names}
