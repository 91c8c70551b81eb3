"""Where cases run: the folder that they share, what it begins from, and what undisturbed commands made of that."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from faults import fork, world
from faults.commands import COMMANDS, Command, first_names, leftovers, result
from faults.fork import Ended, Fault

HALF = 0.6  # of its changes after which a command is stopped whose half-done work is to be damaged


@dataclass(frozen=True)
class Found:
    """What came of a case: "" if all is well, else which promise was broken and how."""

    fault: str = ""
    text: str = ""


@dataclass(frozen=True)
class Undisturbed:
    """What a command makes, with so many changes of files, in so many seconds."""

    files: dict[str, str]
    left: frozenset[str]
    changes: int
    seconds: float


class Stage:
    """Worlds below `top`, each made when it is first asked for, and the folder `here` in which every case runs."""

    def __init__(self, top: Path) -> None:
        self.top, self.here = top, top / "here"
        self.here.mkdir(parents=True)
        os.chdir(self.here)
        world.make(self.here)
        shutil.copytree(self.here, top / "base", symlinks=True)
        self.known: dict[str, Undisturbed] = {}

    def begin(self, name: str) -> None:
        """Puts a world in place: "base", "after NAME" or "half NAME" of a command."""
        if not (self.top / name).exists():
            kind, _, of = name.partition(" ")
            self.start(COMMANDS[of])
            fault = Fault(max(1, round(HALF * self.undisturbed(COMMANDS[of]).changes)), signal=9) if kind == "half" else Fault()
            self.start(COMMANDS[of])
            self.run(COMMANDS[of].words, fault)
            shutil.copytree(self.here, self.top / name, symlinks=True)
        world.renew(self.here, self.top / name)

    def start(self, command: Command) -> None:
        """Puts the world in place that a command begins in."""
        self.begin(f"after {command.after[0]}" if command.after else "base")

    def undisturbed(self, command: Command) -> Undisturbed:
        """What a command makes where nothing happens to it; RuntimeError if twice is not the same."""
        if command.name not in self.known:
            made = []
            for _ in range(2):
                self.start(command)
                ended = self.play(command)
                if ended[0].code:
                    raise RuntimeError(f"{command.name} does not run: {ended[0].err}")
                made.append(result(self.here, command))
            if made[0] != made[1]:
                raise RuntimeError(f"{command.name} does not make the same twice: {different(*made)}")
            left = frozenset(leftovers(self.here))
            self.known[command.name] = Undisturbed(made[0], left, ended[0].changes, ended[0].seconds)
        return self.known[command.name]

    def play(self, command: Command, fault: Fault = Fault(), rank: int = 0) -> list[Ended]:
        """Runs a command; under faults, of several processes the one of this rank."""
        if command.processes == 1:
            return [self.run(command.words, fault)]
        port = str(29000 + (os.getpid() * 7 + random.SystemRandom().randrange(1000)) % 5000)
        place = {"WORLD_SIZE": str(command.processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
        ranks = [{**place, "RANK": str(each), "LOCAL_RANK": str(each)} for each in range(command.processes)]
        words = list(command.words)
        return fork.together([(words, fault if each == rank else Fault(), ranks[each]) for each in range(command.processes)], launched=True)

    def run(self, words: Iterable[str], fault: Fault = Fault(), **how: object) -> Ended:
        return fork.run(list(words), fault=fault, **how)

    def finish(self, command: Command) -> Found:
        """Runs a command again after whatever happened: it has to make what an undisturbed one makes, and to leave nothing."""
        expected = self.known[command.name]
        ended = self.play(command)
        if found := ill(ended):
            return found
        if any(each.code for each in ended):
            return Found("lost", f"the same command again: {last(ended)}")
        try:
            made = result(self.here, command)
        except Exception as error:  # of whatever reads it
            return Found("lost", f"{type(error).__name__}: {error}")
        made = first_names(made) if command.counts_on else made
        if made != expected.files:
            return Found("lost", different(expected.files, made))
        more = set(leftovers(self.here)) - expected.left
        return Found("leftovers", ", ".join(sorted(more)[:3])) if more else Found()


def ill(ended: Iterable[Ended]) -> Found | None:
    """What is wrong with how commands ended, whatever befell them."""
    for each in ended:
        if each.hung:
            return Found("hang", each.err[-300:])
        if each.traceback:
            return Found("traceback", tail(each.err))
        if "\x1b" in each.err + each.out:
            return Found("wrong line", "an escape sequence was printed")
        if each.code in (1, 2) and not complaints(each):
            return Found("wrong line", f"exit code {each.code} without a line: {each.err[-300:]!r}")
        if each.code not in (0, 1, 2, 130, 143, -9):
            return Found("wrong line", f"exit code {each.code}: {each.err[-300:]}")
    return None


def complaints(ended: Ended) -> list[str]:
    return [line for line in ended.err.splitlines() if line.startswith("mousai: ")]


def last(ended: Iterable[Ended]) -> str:
    return " | ".join(f"exit code {each.code}: {each.err.strip()[-300:]}" for each in ended if each.code)


def tail(text: str) -> str:
    """The last frames of a traceback, on one line."""
    return " / ".join(line.strip() for line in text.strip().splitlines()[-6:])[-500:]


def different(expected: dict[str, str], made: dict[str, str]) -> str:
    """The places in which two results differ."""
    lacks, more = sorted(expected.keys() - made.keys()), sorted(made.keys() - expected.keys())
    other = sorted(name for name in expected.keys() & made.keys() if expected[name] != made[name])
    return "; ".join(f"{what}: {', '.join(names[:4])}" for what, names in (("lacks", lacks), ("more", more), ("other", other)) if names)


def quietly(call: Callable[[], object]) -> None:
    """Calls without what is said reaching the terminal."""
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        call()
    finally:
        for number, descriptor in zip((1, 2), kept):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(nowhere)
