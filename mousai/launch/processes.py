"""The processes of a launch under Accelerate: found, checked, and left together."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list

T = TypeVar("T")
WAIT = timedelta(hours=12)  # for the others: an export or the last hour of a cache may fall to one process


def processes(wait: timedelta = WAIT, **settings: object) -> Accelerator:
    """An Accelerator over all the processes that were started; ValueError if they do not see one another.

    A process that has waited for the others for as long as `wait` gives up. Where there is no accelerator, Accelerate has
    to be told so, or processes under torchrun would each believe to be alone and write over one another.
    """
    waiting = InitProcessGroupKwargs(timeout=wait)
    accelerator = Accelerator(cpu=not torch.accelerator.is_available(), kwargs_handlers=[waiting], **settings)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:
        raise ValueError(f"{started} processes were started, but each sees {accelerator.num_processes}; see docs/training.md on launching")
    return accelerator


def from_first(accelerator: Accelerator, make: Callable[[], T]) -> T:
    """What `make` gives in the first process, for all of them; an error there is everybody's."""
    if accelerator.num_processes == 1:
        return make()
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome = [make(), None]
        except Exception as error:  # raised below, in all processes
            outcome = [None, error]
    broadcast_object_list(outcome)
    made, error = outcome
    if error is not None:
        raise error
    return made


def leave(accelerator: Accelerator) -> None:
    """Waits for all processes and takes their group apart, at the good end of a job; nothing for a process alone.

    Gloo may abort a process whose peers have left without a word. A launch has one group: its store still knows this one.
    """
    if accelerator.num_processes > 1:
        accelerator.wait_for_everyone()
        torch.distributed.destroy_process_group()
        forget()


def forget() -> None:
    """Has Accelerate look for its processes anew; it remembers them, and what is to be forgotten, in a private place."""
    AcceleratorState._reset_state(reset_partial_state=True)
