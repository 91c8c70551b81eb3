"""`mousai render`: long pieces, one after the other, each in its own folder of state until it is finished.

Several processes share the pieces: those of an Accelerate launch, the tasks of a Slurm array, or whoever else renders to
the same folder. Each begins with its own share and then takes what is left and nobody works on, by a lock in the piece's
folder; what a piece becomes does not depend on who makes it. A signal stops the process that it reaches: it saves, and
waits for those that it was launched with, which may take up its piece; a second signal ends it at once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mousai import checkpoint
from mousai.checks import Problems
from mousai.jobs.places import ready
from mousai.jobs.render.plan import Target, check, check_disk, note_failure, seconds_of, targets_of, write_plan
from mousai.launch.group import Place, launched, shared
from mousai.launch.interrupt import Interrupt
from mousai.request.piece import Piece

FAILURES = (ValueError, OSError, RuntimeError, MemoryError)  # of one piece, which do not stop the others
WEIGHT = {"busy": 0, "there": 1, "stopped": 2, "failed": 3, "done": 4}  # how much a result says


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
    """Hears how a job goes; this one does nothing with it. On a CUDA device `moves` also comes from a thread of generating."""

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


def render(
    pieces: Sequence[Piece], model: str | Path = "starter", out: str | Path | None = None, format: str | None = None,
    *, device: str = "auto", dtype: str = "auto", compile: bool = False, listener: Listener | None = None,
) -> Summary:  # fmt: skip
    """Makes the pieces that are not there yet, and says what became of each.

    `out` is a folder (default: this one), or a file name for one piece; `format` goes before a piece's own. Everything
    that can be seen to be wrong with any piece raises Problems, ValueError or OSError before one is begun. A single
    piece that fails raises its error; of several, a failure is a `Result`.
    """
    listener, place = listener or Listener(), Place.found()
    targets, fingerprint = prepared(pieces, model, out, format, device, dtype)
    to_do = check(targets, fingerprint)
    finished = others(targets, to_do)
    listener.plans(targets)
    for target in finished:
        listener.ends(Result(target.name, "there", target.file, seconds_of(target)))
    # a signal that comes while this process waits for the others must not end it before they have come
    with Interrupt() as interrupt, launched(place) as launch, ready(targets[0].folder) if to_do else nullcontext():
        job = Job(model, fingerprint, launch.device_of(device), dtype, compile, place, listener, interrupt, alone=len(targets) == 1 and place.world == 1)
        results = merged(launch.gather(job.make_all(to_do, targets) if to_do else {}))
    state = dict.fromkeys((target.name for target in finished), "there")
    return Summary(tuple(
        results.get(target.name) or Result(target.name, state.get(target.name, "stopped"), target.file, seconds_of(target)) for target in targets
    ))  # fmt: skip


def dry_run(
    pieces: Sequence[Piece], model: str | Path = "starter", out: str | Path | None = None, format: str | None = None,
    *, device: str = "auto", dtype: str = "auto", compile: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """What `render` would do: the pieces that are to be made, each with its seconds of work and bytes on the disk, and those that are there."""
    from mousai.device import limit_threads
    from mousai.jobs.render.expected import expected
    from mousai.pipelines.cascade import load

    targets, fingerprint = prepared(pieces, model, out, format, device, dtype)
    to_do = check(targets, fingerprint)
    limit_threads()
    rows = []
    if to_do:
        cascade = load(model, device, dtype, compile=compile)
        check_settings(to_do, cascade)
        check_disk(to_do, cascade.codec)
        rows = expected(to_do, cascade)
    return {"pieces": [row.to_dict() for row in rows], "there": [str(target.file) for target in others(targets, to_do)]}


def prepared(pieces: Sequence[Piece], model: str | Path, out: str | Path | None, format: str | None, device: str, dtype: str) -> tuple[list[Target], str]:
    """The targets, and the fingerprint of a model that can be used here; no weights are read."""
    from mousai.pipelines.cascade import check_model, place_and_precision

    if not pieces:
        raise ValueError("no piece: say what to play, or name a job file")
    targets = targets_of(pieces, out, format)
    place_and_precision(device, dtype)
    check_model(model)
    return targets, checkpoint.fingerprint(checkpoint.model_folder(model))


def others(targets: Sequence[Target], to_do: Sequence[Target]) -> list[Target]:
    """The targets that are not to be made."""
    names = {target.name for target in to_do}
    return [target for target in targets if target.name not in names]


def check_settings(to_do: Sequence[Target], cascade: Any) -> None:
    """Problems with all pieces that this model cannot make."""
    from mousai.pipelines.settled import resolved

    lines = []
    for target in to_do:
        try:
            resolved(cascade, target.piece)
        except ValueError as error:
            lines.append(f"{target.name}: {error}")
    if lines:
        raise Problems(lines)


@dataclass(frozen=True)
class Job:
    """What one process does with the pieces, one after the other; `alone` if there is one piece, whose error is the job's."""

    model: str | Path
    fingerprint: str
    device: str
    dtype: str
    compile: bool
    place: Place
    listener: Listener
    interrupt: Interrupt
    alone: bool

    def make_all(self, to_do: Sequence[Target], targets: Sequence[Target]) -> dict[str, Result]:
        """The results of the pieces `to_do` that this process makes, or finds made or in the hands of another one."""
        from mousai.device import limit_threads
        from mousai.pipelines.cascade import load

        limit_threads()
        cascade = load(self.model, self.device, self.dtype, compile=self.compile)
        check_settings(to_do, cascade)
        check_disk(to_do, cascade.codec, self.place.world)
        if self.place.rank == 0 and len(targets) > 1:
            write_plan(targets)
        results: dict[str, Result] = {}
        tried = 0
        for target in shared(to_do, self.place):
            if self.interrupt.requested:
                break
            result = results[target.name] = self.make(target, cascade, tried + 1, len(to_do))
            if result.state != "busy":
                tried += result.state != "there"
                self.listener.ends(result)
        return results

    def make(self, target: Target, cascade: Any, number: int, count: int) -> Result:
        """The result of one piece, the `number`th of `count`."""
        from mousai.jobs.render.piece import Stopped, make
        from mousai.jobs.render.state import Busy

        began, worked = time.monotonic(), False

        def result(state: str, **more: Any) -> Result:
            return Result(target.name, state, target.file, seconds_of(target), took=time.monotonic() - began, **more)

        def tell(share: float, doing: str) -> None:
            nonlocal worked
            if not worked:  # now it is ours, and not there yet
                worked = True
                self.listener.begins(target, number, count)
            self.listener.moves(target, share, doing)

        try:
            if target.finished(self.fingerprint):
                return result("there")
            made = make(target, cascade, self.listener.says, tell, lambda: self.interrupt.requested)
            return result("done", made=made) if worked else result("there")
        except Busy as error:
            if self.alone:
                raise ValueError(str(error)) from None
            return result("busy")
        except Stopped:
            return result("stopped")
        except FAILURES as error:
            text = str(error) or type(error).__name__
            note_failure(target, text)
            if self.alone:
                raise
            return result("failed", text=text)


def merged(shares: Sequence[Mapping[str, Result]]) -> dict[str, Result]:
    """The results of all processes; of several on one piece the one that says most."""
    results: dict[str, Result] = {}
    for share in shares:
        for name, result in share.items():
            if name not in results or WEIGHT[result.state] > WEIGHT[results[name].state]:
                results[name] = result
    return results
