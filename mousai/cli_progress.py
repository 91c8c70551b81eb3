"""How a rendering job is told while it runs: bars in a terminal, readable lines in a log."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mousai.jobs.render import Listener, Result
from mousai.jobs.render_plan import Target, seconds_of

LINE_SECONDS = 60.0  # between two lines on a piece


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    hours, rest = divmod(max(0, round(seconds)), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


class Speed:
    """Times real time and seconds left of one piece, from the share that is done."""

    def __init__(self, target: Target) -> None:
        self.seconds, self.began, self.first = target.piece.seconds, time.monotonic(), None

    def at(self, share: float) -> tuple[float, float | None]:
        """(times real time, seconds of work left or None) when `share` is done; what an earlier run did does not count."""
        self.first = share if self.first is None else self.first
        spent, done = time.monotonic() - self.began, (share - self.first) * self.seconds
        speed = done / max(spent, 1e-9)
        return speed, (1 - share) * self.seconds / speed if speed > 0 else None


class Bars(Listener):
    """A bar for the job, in seconds of music, and one for the piece."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )  # fmt: skip
        self.progress = Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
        self.finished = 0.0
        self.job = self.piece = None

    def __enter__(self) -> Bars:
        self.progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.progress.__exit__(*error)

    def plans(self, targets: list[Target]) -> None:
        if len(targets) > 1:
            self.job = self.progress.add_task(f"{len(targets)} pieces", total=sum(seconds_of(target) for target in targets), speed="")

    def begins(self, target: Target, number: int, count: int) -> None:
        self.speed = Speed(target)
        self.piece = self.progress.add_task(target.name, total=1.0, speed="")

    def moves(self, target: Target, share: float, doing: str) -> None:
        speed, _ = self.speed.at(share)
        self.progress.update(self.piece, completed=share, description=f"{target.name}: {doing}", speed=f"{speed:.2g}x real time")
        if self.job is not None:
            self.progress.update(self.job, completed=self.finished + share * seconds_of(target))

    def ends(self, result: Result) -> None:
        self.finished += result.seconds
        if self.piece is not None:
            self.progress.remove_task(self.piece)
            self.piece = None
        if result.state != "stopped":
            self.progress.console.print(line_of(result), highlight=False, markup=False)

    def says(self, line: str) -> None:
        self.progress.console.print(f"mousai: {line}", highlight=False, markup=False)


class Lines(Listener):
    """A line when a piece begins and ends, and every minute between; the process' number before it, if there are several."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.last = file, 0.0
        self.who = f"[{os.environ['RANK']}] " if int(os.environ.get("WORLD_SIZE", "1")) > 1 else ""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begins(self, target: Target, number: int, count: int) -> None:
        self.speed, self.last = Speed(target), time.monotonic()
        self._print(f"{target.name}: {clock(seconds_of(target))}, piece {number} of {count}")

    def moves(self, target: Target, share: float, doing: str) -> None:
        speed, left = self.speed.at(share)
        if time.monotonic() - self.last > LINE_SECONDS:
            self.last = time.monotonic()
            self._print(f"{target.name}: {100 * share:.0f} %, {speed:.2g}x real time" + (f", {clock(left)} left" if left is not None else ""))

    def ends(self, result: Result) -> None:
        self._print(line_of(result))

    def says(self, line: str) -> None:
        self._print(line)

    def _print(self, line: str) -> None:
        print(f"mousai: {self.who}{line}", file=self.file, flush=True)


def line_of(result: Result) -> str:
    """What became of a piece, in a line."""
    if result.state == "done":
        return f"{result.file}  {clock(result.seconds)} in {clock(result.took)}, {result.seconds / max(result.took, 1e-9):.2g}x real time"
    return {"there": f"{result.file} was there", "failed": f"{result.name} failed: {result.text}", "stopped": f"{result.name}: stopped, the same command goes on"}[result.state]
