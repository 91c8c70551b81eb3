"""mousai's command line in a fork of this process, which has imported everything, and what may befall it there."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod")
GROWS = ("open", "os.mkdir", "os.rename", "os.link", "fsync")  # what a full disk refuses
GRACE_SECONDS = 20.0  # that a process has to end after SIGTERM


@dataclass(frozen=True)
class Fault:
    """What happens before the `at`-th change of a file: a signal, or a disk that is full `once` or from then on."""

    at: int = 0  # never
    signal: int = 0
    full: bool = False
    once: bool = False
    file_bytes: int | None = None  # more no file may have

    def __str__(self) -> str:
        if self.file_bytes is not None:
            return f"no file over {self.file_bytes} bytes"
        what = f"a disk full {'once' if self.once else 'from then on'}" if self.full else signal.Signals(self.signal).name if self.signal else "nothing"
        return f"{what} at change {self.at}"


@dataclass
class Ended:
    """How a command ended: its exit code (negative: the signal), what it said, and its changes of files."""

    code: int
    out: str
    err: str
    changes: int = 0
    seconds: float = 0.0
    hung: bool = False
    stopped: bool = False  # it took longer than it might, and went when it was asked to
    what: list[str] = field(default_factory=list)

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.err or "Fatal Python error" in self.err or self.code in (-11, -6, -7, 70)


class Befall:
    """An audit hook that counts changes of files below the current folder, and has the fault happen."""

    def __init__(self, fault: Fault, note: int) -> None:
        self.fault, self.note, self.count, self.folder, self.quiet = fault, note, 0, os.getcwd(), False

    def hear(self, event: str, arguments: tuple) -> None:
        if self.quiet or not (event in CHANGES or event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        names = [os.fsdecode(name) for name in arguments[: 2 if event in ("os.rename", "os.link") else 1] if isinstance(name, (str, bytes, os.PathLike))]
        if any(name.startswith(self.folder) or not name.startswith("/") for name in names):
            self.happens(event, names[0])

    def happens(self, event: str, name: str) -> None:
        self.count += 1
        os.write(self.note, f"{event} {os.path.relpath(name)}\n".encode(errors="replace"))
        fault = self.fault
        if fault.signal and self.count == fault.at:
            self.quiet = fault.signal == signal.SIGKILL
            os.kill(os.getpid(), fault.signal)
        if fault.full and event in GROWS and (self.count == fault.at or self.count > fault.at and not fault.once):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)


def run(arguments: list[str], *, fault: Fault = Fault(), seconds: float = 60.0, memory: int | None = None, environment: dict[str, str] | None = None) -> Ended:
    """One command in the current folder, ended when it has ended; `memory` are bytes that it may have beside what this process has."""
    return together([(arguments, fault, environment or {})], seconds, memory)[0]


def together(commands: list[tuple[list[str], Fault, dict[str, str]]], seconds: float = 60.0, memory: int | None = None, *, launched: bool = False, apart: float = 0.0) -> list[Ended]:
    """Several at once, begun so many seconds `apart`; processes that were `launched` as one are ended where one of them fails, as a launcher does."""
    began, children = time.monotonic(), []
    for index, command in enumerate(commands):
        if index and apart:
            time.sleep(apart)
        children.append(Child(command, memory))
    until, asked = began + seconds, False
    while any(child.alive for child in children):
        poll(children, 0.05)
        failed = launched and any(not child.alive and child.code for child in children)
        if (failed or time.monotonic() > until) and not asked:
            asked, until = True, time.monotonic() + GRACE_SECONDS
            for child in children:
                child.ask(stopped=not failed)
        elif time.monotonic() > until:
            for child in children:
                child.end()
    return [child.ended(began) for child in children]


class Child:
    """A fork and the pipes that it speaks through."""

    def __init__(self, command: tuple[list[str], Fault, dict[str, str]], memory: int | None) -> None:
        pipes = [os.pipe() for _ in range(3)]
        sys.stdout.flush()
        sys.stderr.flush()
        self.process = os.fork()
        if self.process == 0:
            for read, _ in pipes:
                os.close(read)
            play(command, [write for _, write in pipes], memory)
        self.said = {}
        for read, write in pipes:
            os.close(write)
            self.said[read] = b""
        self.order = list(self.said)
        self.open, self.code, self.alive, self.hung, self.stopped = set(self.said), 0, True, False, False

    def look(self) -> None:
        process, status = os.waitpid(self.process, os.WNOHANG)
        if process:
            self.code, self.alive = os.waitstatus_to_exitcode(status), False

    def read(self, descriptor: int) -> None:
        data = os.read(descriptor, 65536)
        self.said[descriptor] += data[: max(0, 10**6 - len(self.said[descriptor]))]
        if not data:
            self.open.discard(descriptor)

    def ask(self, stopped: bool) -> None:
        if self.alive:
            self.stopped = stopped
            os.kill(self.process, signal.SIGTERM)

    def end(self) -> None:
        if self.alive:
            self.hung = True
            os.kill(self.process, signal.SIGKILL)
            self.code, self.alive = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1]), False

    def ended(self, began: float) -> Ended:
        while self.open and select.select(list(self.open), [], [], 0)[0]:
            for descriptor in select.select(list(self.open), [], [], 0)[0]:
                self.read(descriptor)
        for descriptor in self.said:
            os.close(descriptor)
        out, err, what = (self.said[descriptor].decode(errors="replace") for descriptor in self.order)
        return Ended(self.code, out, err, what.count("\n"), time.monotonic() - began, self.hung, self.stopped, what.splitlines())


def poll(children: list[Child], seconds: float) -> None:
    """Waits until one of them speaks or ends."""
    owners = {descriptor: child for child in children for descriptor in child.open}
    if owners:
        for descriptor in select.select(list(owners), [], [], seconds)[0]:
            owners[descriptor].read(descriptor)
    else:
        time.sleep(0.002)
    for child in children:
        if child.alive:
            child.look()


def play(command: tuple[list[str], Fault, dict[str, str]], pipes: list[int], memory: int | None) -> None:
    """The fork's life, which ends here."""
    arguments, fault, environment = command
    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(pipes[0], 1)
        os.dup2(pipes[1], 2)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, encoding="utf-8", closefd=False) for number in (1, 2))  # what was a file may be a pipe now
        os.environ.update(environment)
        sys.unraisablehook = sys.__unraisablehook__
        if memory is not None:
            most = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + memory
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        if fault.file_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault.file_bytes, fault.file_bytes))
        befall = Befall(fault, pipes[2])
        os.fsync = lambda descriptor: befall.happens("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))  # what a process wrote outlives it without
        sys.addaudithook(befall.hear)
        from mousai.cli.main import main

        main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 70
    except BaseException:
        import traceback

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # the text is to be whole
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
