"""Runs mousai's command line in forks of one process that has imported and loaded everything, and has them die where they are told to.

A script: `forks.py MODEL`. A line of JSON on stdin asks for a run, see `run`; its process id is answered when it begins, its
exit status (-9 = killed) when it has ended.
"""

import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")


class Death:
    """A signal before the `after`th change of a file in a folder, or before or behind the first that is `at` (event, pattern)."""

    def __init__(
        self, folder: str, after: int | None = None, at: tuple[str, str] | None = None, behind: bool = False, signal: int = signal.SIGKILL
    ) -> None:  # fmt: skip
        self.folder, self.after, self.at, self.behind, self.signal = folder, after, at, behind, signal
        self.count, self.off = 0, False

    def comes(self) -> None:
        self.off = True
        os.kill(os.getpid(), self.signal)

    def hear(self, event: str, arguments: tuple) -> None:
        """An audit hook, which is called before the system is."""
        if self.off or not (event in EVENTS or event == "open" and (arguments[2] or 0) & WRITING):
            return
        names = arguments[:1] if event == "open" else arguments
        paths = [Path(os.fsdecode(name)) for name in names if isinstance(name, (str, bytes, Path))]
        if not any(str(path).startswith(self.folder) or not path.is_absolute() for path in paths):
            return
        self.happens()
        if self.at and event == self.at[0] and paths[-1].match(self.at[1]):
            if self.behind:
                self.off = True  # it would hear of itself
                getattr(os, event.removeprefix("os."))(*(part for part in arguments if part != -1))
            self.comes()

    def happens(self) -> bool:
        self.count += 1
        if self.count == self.after:
            self.comes()


class Scales:
    """The most bytes that a folder holds whenever a file of it changes."""

    def __init__(self, folder: str) -> None:
        self.folder, self.most = Path(folder), 0

    def hear(self, event: str, arguments: tuple) -> None:
        if event in EVENTS:
            self.most = max(self.most, sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()))


def install(death: Death) -> None:
    """Has a death hear of names that change, of what is synced, and of audio, which it leaves half-written."""
    from mousai.audio.growing import GrowingWav

    put = GrowingWav.put

    def torn(wav: GrowingWav, at: int, data: bytes) -> None:
        if death.count + 1 == death.after:
            os.pwrite(wav.file.fileno(), memoryview(data)[: len(data) // 2], at)
        death.happens()
        put(wav, at, data)

    os.fsync, GrowingWav.put = lambda descriptor: death.happens(), torn  # what a process wrote outlives it without
    sys.addaudithook(death.hear)


def run(
    arguments: list[str], log: str, death: dict | None = None, weigh: str | None = None, file_bytes: int | None = None,
    save_seconds: float = 5.0, step_seconds: float = 0.0,
) -> int:  # fmt: skip
    """`mousai` with these arguments, in this process.

    With `weigh`, it ends with a line of the most bytes that this folder held. No file may become longer than `file_bytes`,
    state and progress are written every `save_seconds`, each step of generation takes `step_seconds` more. No picture is
    drawn, only a file put in its place.
    """
    from mousai.cli import main as cli
    from mousai.diffusion.windows import JointDenoiser
    from mousai.jobs.render import piece as render_piece
    from mousai.pictures.overview import Overview

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(output, 2)
    render_piece.SAVE_SECONDS = render_piece.NOTE_SECONDS = save_seconds
    Overview.add = lambda self, audio: None
    Overview.save = lambda self, path: Path(path).write_bytes(b"a picture")
    if step_seconds:
        advance = JointDenoiser.advance
        JointDenoiser.advance = lambda self: (time.sleep(step_seconds), advance(self))[1]
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if death is not None:
        install(Death(**death))
    if weigh is not None:
        scales = Scales(weigh)
        sys.addaudithook(scales.hear)
    try:
        cli.main(arguments)
    except SystemExit as end:
        if weigh is not None:
            print(scales.most, file=sys.stderr)
        return end.code or 0


def main(model: str) -> None:
    import mousai.cli.main  # noqa: F401
    import mousai.pipelines.cascade
    from mousai.jobs.render.job import render
    from mousai.request.piece import Piece, Section

    cascade = mousai.pipelines.cascade.load(model, "cpu")
    mousai.pipelines.cascade.load = lambda *_, **__: cascade
    with tempfile.TemporaryDirectory() as folder:  # has everything imported that will be
        render([Piece([Section("noise", 2.0)])], model, folder)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = run(**json.loads(line))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(child, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
