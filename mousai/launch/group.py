"""The processes that share the pieces of a job: which of them this one is, and how those of one launch wait for one another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

WAIT = timedelta(days=30)  # for the processes of a launch that still make their last piece

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Which of how many processes this is; `together` if they were launched as one and end together."""

    rank: int = 0
    world: int = 1
    together: bool = False

    @classmethod
    def found(cls, environment: Mapping[str, str] = os.environ) -> Place:
        """From the variables of a launcher, or of a Slurm array."""
        if int(environment.get("WORLD_SIZE", "1")) > 1 and "RANK" in environment:
            return cls(int(environment["RANK"]), int(environment["WORLD_SIZE"]), True)
        if "SLURM_ARRAY_TASK_ID" in environment:
            first, last, step = (int(environment.get(f"SLURM_ARRAY_TASK_{name}", default)) for name, default in (("MIN", 0), ("MAX", 0), ("STEP", 1)))
            return cls((int(environment["SLURM_ARRAY_TASK_ID"]) - first) // step, max(1, (last - first) // step + 1))
        return cls()


def shared(to_do: Sequence[T], place: Place) -> list[T]:
    """The order in which a process goes through the pieces: its own share, then the others' from the end."""
    own = range(len(to_do))[place.rank :: place.world]
    return [to_do[index] for index in own] + [to_do[index] for index in reversed(range(len(to_do))) if index not in own]


class Launch:
    """The processes of a launch; one alone has nobody to wait for."""

    def device_of(self, device: str) -> str:
        """The device of this process, where `device` was asked for."""
        return device

    def gather(self, share: T) -> list[T]:
        """What every process gives, of all of them."""
        return [share]


class Together(Launch):
    """Processes that were launched as one; none may end with an error before all have ended, for the launcher would end the others."""

    def __init__(self) -> None:
        from mousai.launch.processes import processes

        self.accelerator = processes(WAIT)
        self.accelerator.wait_for_everyone()  # whoever cannot reach the others says so now, not after the night's work

    def device_of(self, device: str) -> str:
        own = self.accelerator.device
        if device not in ("auto", own.type):
            return device
        return "cpu" if own.type == "cpu" else str(own)  # Accelerate numbers CPUs too

    def gather(self, share: T) -> list[T]:
        from accelerate.utils import gather_object

        return gather_object([share])


@contextmanager
def launched(place: Place) -> Iterator[Launch]:
    """This process' launch, left by all together if all went well; after an error waiting for the others would never end."""
    if not place.together:
        yield Launch()
        return
    from mousai.launch.processes import leave

    launch = Together()
    yield launch
    leave(launch.accelerator)
