"""How a rendering job is told while it runs: bars in a terminal, readable lines in a log."""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from mousai.jobs.render.job import Listener, Result
from mousai.jobs.render.plan import Target, seconds_of
from mousai.jobs.render.state import AUDIO, SUFFIX
from mousai.words import clock, printable, real_time, say

LINE_SECONDS = 60.0  # between two lines on a piece
SURE_SECONDS = 2.0  # of work before anything is said of its speed
RENDERING = "rendering"  # what is done nearly all the time, and need not be said
GOING_ON = "going on"  # the first word of a piece that was begun before


class Speed:
    """Times real time and seconds left of so many `seconds` of music, from the share that is done."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.began, self.first = seconds, time.monotonic(), None

    def at(self, share: float) -> tuple[float, float | None]:
        """(times real time, seconds of work left or None) when `share` is done; what an earlier run did does not count."""
        self.first = share if self.first is None else self.first
        spent, done = time.monotonic() - self.began, (share - self.first) * self.seconds
        speed = done / max(spent, 1e-9)
        return speed, (1 - share) * self.seconds / speed if speed > 0 else None

    def in_words(self, share: float) -> str:
        """As `at`: "0.5x real time, 3:20 left"; "" while little is known."""
        speed, left = self.at(share)
        if left is None or time.monotonic() - self.began < SURE_SECONDS:
            return ""
        return real_time(speed) + (f", {clock(left)} left" if share < 1 else "")


class Told(Listener, ABC):
    """Says what becomes of the pieces: `results` hears of those that are made, a line each, everything else is `_say`'s."""

    def __init__(self, results: TextIO | None) -> None:
        self.results, self.alone, self.there = results, True, 0

    def plans(self, targets: Sequence[Target]) -> None:
        self.alone = len(targets) == 1
        self.folder = targets[0].folder

    def begins(self, target: Target, number: int, count: int) -> None:
        self.speed = Speed(target.piece.seconds)
        if number == 1 and not self.alone:
            already = f", {self.there} there already" if self.there else ""
            self._say(f"{count} pieces to make{already}; each plays while it grows: {self.folder / f'NAME{SUFFIX}' / AUDIO}")

    def ends(self, result: Result) -> None:
        if result.state == "there" and not self.alone:
            self.there += 1
        elif result.state != "done":
            self._say(line_of(result))
        elif self.results is None:
            self._say(line_of(result))
        else:
            say(line_of(result), to=self.results)

    def says(self, line: str) -> None:
        self._say(line)

    def steps(self, done: int, total: int) -> None:
        """So many of the steps of a clip are done."""

    @abstractmethod
    def _say(self, line: str) -> None:
        """Tells a line."""


class Bars(Told):
    """A bar for the job, in seconds of music, and one for the piece."""

    def __init__(self, console: Console, results: TextIO | None) -> None:
        super().__init__(results)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.fields[words]}"))
        self.progress = Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
        self.finished, self.job_speed = 0.0, None
        self.job: TaskID | None = None
        self.piece: TaskID | None = None

    def __enter__(self) -> Bars:
        self.progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.progress.__exit__(*error)

    def plans(self, targets: Sequence[Target]) -> None:
        super().plans(targets)
        if not self.alone:
            self.new = {target.name: target.piece.seconds for target in targets}
            self.total = sum(self.new.values())
            self.job = self.progress.add_task(f"{len(targets)} pieces", total=self.total, words="")

    def begins(self, target: Target, number: int, count: int) -> None:
        super().begins(target, number, count)
        if self.alone:
            self._say(f"{target.name} plays while it grows: {target.state / AUDIO}")
        elif self.job_speed is None:
            self.job_speed = Speed(self.total)
            self.job_speed.at(self.finished / self.total)
        self.piece = self.progress.add_task(printable(target.name), total=1.0, words="")

    def moves(self, target: Target, share: float, doing: str) -> None:
        described = target.name if doing == RENDERING else f"{target.name}: {doing}"
        self.progress.update(self.piece, completed=share, description=printable(described), words=self.speed.in_words(share))
        if self.job is not None:
            done = self.finished + share * target.piece.seconds
            self.progress.update(self.job, completed=done, words=self.job_speed.in_words(done / self.total))

    def ends(self, result: Result) -> None:
        if self.piece is not None:
            self.progress.remove_task(self.piece)
            self.piece = None
        if self.job is not None:
            self.finished += self.new[result.name] if result.state in ("done", "there") else 0.0
            self.progress.update(self.job, completed=self.finished)
        super().ends(result)

    def steps(self, done: int, total: int) -> None:
        if self.piece is None:
            self.piece = self.progress.add_task("steps", total=total, words="")
        self.progress.update(self.piece, completed=done)

    def _say(self, line: str) -> None:
        self.progress.console.print(printable(f"mousai: {line}"), highlight=False, markup=False, soft_wrap=True)


class Lines(Told):
    """A line when a piece begins, and every minute how far it is; the process' number before it, if there are several."""

    def __init__(self, file: TextIO, results: TextIO | None) -> None:
        super().__init__(results)
        self.file, self.last = file, 0.0
        self.who = f"[{os.environ['RANK']}] " if int(os.environ.get("WORLD_SIZE", "1")) > 1 else ""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begins(self, target: Target, number: int, count: int) -> None:
        super().begins(target, number, count)
        self.last = time.monotonic()
        more = f"; plays while it grows: {target.state / AUDIO}" if self.alone else f", piece {number} of {count}"
        self._say(f"{target.name}: {clock(seconds_of(target))} to make{more}")

    def moves(self, target: Target, share: float, doing: str) -> None:
        words = self.speed.in_words(share)
        if doing == GOING_ON:
            self._say(f"{target.name}: goes on at {100 * share:.0f} %")
        if time.monotonic() - self.last > LINE_SECONDS:
            self.last = time.monotonic()
            self._say(", ".join(part for part in (f"{target.name}: {100 * share:.0f} %", "" if doing == RENDERING else doing, words) if part))

    def _say(self, line: str) -> None:
        say(f"mousai: {self.who}{line}", to=self.file)


def new_seconds(result: Result) -> float:
    """The length of what was made, seconds: the file's, without a recording that it goes on from."""
    recording = (result.made or {}).get("recording")
    return result.seconds - (recording["num_samples"] / result.made["sample_rate"] if recording else 0.0)


def line_of(result: Result) -> str:
    """What became of a piece, in a line."""
    if result.state == "done":
        new = new_seconds(result)
        length = clock(result.seconds) if new == result.seconds else f"{clock(result.seconds)}, {clock(new)} of it new,"
        return f"{result.file}  {length} in {clock(result.took)}, {real_time(new / max(result.took, 1e-9))}"
    return {
        "there": f"{result.file} is there already",
        "failed": f"{result.name} failed: {result.text}",
        "stopped": f"{result.name}: stopped and saved, the same command goes on",
    }[result.state]
