"""`mousai render`: long pieces, one after the other, each in its own folder of state until it is finished.

Several processes share the pieces: those of an Accelerate launch, the tasks of a Slurm array, or whoever else renders to
the same folder. Each begins with its own share and then takes what is left and nobody works on, by a lock in the piece's
folder; what a piece becomes does not depend on who makes it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mousai import checkpoint
from mousai.jobs.places import ready, write_json
from mousai.jobs.render_plan import Target, check, expected, seconds_of, targets_of, write_plan
from mousai.piece import Piece
from mousai.piece_checks import Problems

FAILURES = (ValueError, OSError, RuntimeError, MemoryError)  # of one piece, which do not stop the others


@dataclass(frozen=True)
class Result:
    """What became of a piece: done, there (finished before), failed, stopped, or busy (another process is at it)."""

    name: str
    state: str
    file: Path
    seconds: float
    took: float = 0.0  # seconds of this run's work
    text: str = ""  # of a failure
    made: Mapping[str, Any] | None = None  # what the job file says


@dataclass(frozen=True)
class Summary:
    """The results of all pieces, of all processes."""

    results: tuple[Result, ...]

    def of(self, state: str) -> list[Result]:
        return [result for result in self.results if result.state == state]

    @property
    def code(self) -> int:
        """The exit code: 130 if a signal stopped it, 1 if a piece failed, else 0."""
        return 130 if self.of("stopped") else 1 if self.of("failed") else 0

    def to_dict(self) -> dict[str, Any]:
        return {"pieces": [asdict(result) for result in self.results], "code": self.code}


class Listener:
    """Hears how a job goes; this one does nothing with it."""

    def plans(self, targets: Sequence[Target]) -> None:
        """These are all the pieces, in the order in which they were asked for."""

    def begins(self, target: Target, number: int, count: int) -> None:
        """Work on a piece begins, the `number`th of `count` to be made."""

    def moves(self, target: Target, share: float, doing: str) -> None:
        """So much of the piece is done."""

    def ends(self, result: Result) -> None:
        """A piece is done, failed or was found there."""

    def says(self, line: str) -> None:
        """Something that the user should know."""


@dataclass(frozen=True)
class Place:
    """Which of how many processes this is; `together` if they were launched as one and end together."""

    rank: int = 0
    world: int = 1
    together: bool = False

    @classmethod
    def found(cls, environment: Mapping[str, str] = os.environ) -> Place:
        """From the variables of a launcher, or of a Slurm array."""
        if int(environment.get("WORLD_SIZE", "1")) > 1:
            return cls(int(environment["RANK"]), int(environment["WORLD_SIZE"]), True)
        if "SLURM_ARRAY_TASK_ID" in environment:
            first, last, step = (int(environment.get(f"SLURM_ARRAY_TASK_{name}", default)) for name, default in (("MIN", 0), ("MAX", 0), ("STEP", 1)))
            return cls((int(environment["SLURM_ARRAY_TASK_ID"]) - first) // step, max(1, (last - first) // step + 1))
        return cls()


def render(
    pieces: Sequence[Piece], model: str | Path = "starter", out: str | Path | None = None, format: str | None = None,
    *, device: str = "auto", dtype: str = "auto", listener: Listener | None = None,
) -> Summary:  # fmt: skip
    """Makes the pieces that are not there yet, and says what became of each.

    `out` is a folder (default: this one), or a file name for one piece; `format` goes before a piece's own. Everything
    that can be seen to be wrong with any piece raises Problems, ValueError or OSError before one is begun. A single
    piece that fails raises its error; of several, a failure is a `Result`.
    """
    listener = listener or Listener()
    targets, fingerprint = prepared(pieces, model, out, format, device, dtype)
    to_do, place = check(targets, fingerprint), Place.found()
    results = {target.name: Result(target.name, "there", target.file, seconds_of(target)) for target in targets if target not in to_do}
    listener.plans(targets)
    for result in results.values():
        listener.ends(result)
    with launched(place) as launch, ready(targets[0].folder):
        if place.rank == 0 and len(targets) > 1:
            write_plan(targets)
        if to_do:
            results |= _make_all(to_do, model, fingerprint, launch.device or device, dtype, place, listener, alone=len(targets) == 1)
        gathered = launch.gather(results)
    return Summary(tuple(gathered.get(target.name) or Result(target.name, "stopped", target.file, seconds_of(target)) for target in targets))


def dry_run(
    pieces: Sequence[Piece], model: str | Path = "starter", out: str | Path | None = None, format: str | None = None,
    *, device: str = "auto", dtype: str = "auto",
) -> dict[str, Any]:  # fmt: skip
    """What `render` would do: the pieces that are to be made, each with its seconds of work and bytes on the disk, and those that are there."""
    from mousai.cascade import load
    from mousai.device import limit_threads

    targets, fingerprint = prepared(pieces, model, out, format, device, dtype)
    to_do = check(targets, fingerprint)
    limit_threads()
    rows = expected(to_do, load(model, device, dtype)) if to_do else []
    return {"pieces": [row.to_dict() for row in rows], "there": [str(target.file) for target in targets if target not in to_do]}


def prepared(pieces: Sequence[Piece], model: str | Path, out: str | Path | None, format: str | None, device: str, dtype: str) -> tuple[list[Target], str]:
    """The targets, and the fingerprint of a model that can be used here; no weights are read."""
    from mousai.cascade import check_model, place_and_precision

    if not pieces:
        raise ValueError("no piece: say what to play, or name a job file")
    targets = targets_of(pieces, out, format)
    place_and_precision(device, dtype)
    check_model(model)
    return targets, checkpoint.fingerprint(checkpoint.model_folder(model))


def _make_all(
    to_do: Sequence[Target], model: str | Path, fingerprint: str, device: str, dtype: str, place: Place, listener: Listener, alone: bool
) -> dict[str, Result]:
    """The results of the pieces that this process makes, or finds made by another one since."""
    from mousai.cascade import load
    from mousai.device import limit_threads
    from mousai.long_form import resolved
    from mousai.training.interrupt import Interrupt

    limit_threads()
    cascade = load(model, device, dtype)
    if lines := [f"{target.name}: {error}" for target in to_do for error in trouble(lambda: resolved(cascade, target.piece))]:
        raise Problems(lines)
    results: dict[str, Result] = {}
    with Interrupt() as interrupt:
        for target in shared(to_do, place):
            if interrupt.requested:
                break
            number = sum(result.state != "busy" for result in results.values()) + 1
            result = _make_one(target, cascade, fingerprint, interrupt, listener, number, len(to_do), alone)
            results[target.name] = result
            if result.state != "busy":
                listener.ends(result)
    return results


def _make_one(target: Target, cascade: Any, fingerprint: str, interrupt: Any, listener: Listener, number: int, count: int, alone: bool) -> Result:
    from mousai.jobs.render_piece import Stopped, make
    from mousai.jobs.render_state import Busy

    began, facts = time.monotonic(), (target.name, target.file, seconds_of(target))

    def result(state: str, **more: Any) -> Result:
        return Result(facts[0], state, *facts[1:], took=time.monotonic() - began, **more)

    try:
        if target.finished(fingerprint):
            return result("there")
        listener.begins(target, number, count)
        made = make(target, cascade, listener.says, lambda share, doing: listener.moves(target, share, doing), lambda: interrupt.requested)
        return result("done", made=made)
    except Busy as error:
        if alone:
            raise ValueError(str(error)) from None
        return result("busy")
    except Stopped:
        return result("stopped")
    except FAILURES as error:
        text = str(error) or type(error).__name__
        note_failure(target, text)
        if alone:
            raise
        return result("failed", text=text)


def note_failure(target: Target, text: str) -> None:
    """Leaves word in the piece's folder, for `status`, if there is one that can be written to."""
    if target.state.is_dir():
        with suppress(OSError):
            write_json(target.state / "progress.json", {"failed": text, "seconds": seconds_of(target)})


def trouble(work: Any) -> list[str]:
    """What is wrong, in a line, if `work` raises ValueError."""
    try:
        work()
    except ValueError as error:
        return [str(error)]
    return []


def shared(to_do: Sequence[Target], place: Place) -> list[Target]:
    """The order in which a process goes through the pieces: its own share, then the others' from the end."""
    own = list(to_do[place.rank :: place.world])
    return own + [target for target in reversed(to_do) if target not in own]


class Launch:
    """The processes of a launch; one alone has nobody to wait for."""

    device: str | None = None

    def gather(self, results: dict[str, Result]) -> dict[str, Result]:
        """The results of all processes."""
        return results


class Together(Launch):
    """Processes that were launched as one; none may end with an error before all have ended."""

    def __init__(self) -> None:
        from mousai.training.parallel import processes

        self.accelerator = processes()
        self.device = str(self.accelerator.device)

    def gather(self, results: dict[str, Result]) -> dict[str, Result]:
        from accelerate.utils import gather_object

        rank = {"busy": 0, "there": 1, "stopped": 2, "failed": 3, "done": 4}  # the more it says, the later
        found: dict[str, Result] = {}
        for share in gather_object([results]):
            for name, result in share.items():
                if name not in found or rank[result.state] > rank[found[name].state]:
                    found[name] = result
        return found


@contextmanager
def launched(place: Place) -> Iterator[Launch]:
    """This process' launch, taken apart at the end if all went well; after an error waiting for the others would never end."""
    launch = Together() if place.together else Launch()
    yield launch
    if isinstance(launch, Together):
        launch.accelerator.wait_for_everyone()
        launch.accelerator.end_training()
