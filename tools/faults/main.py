"""`tools/chaos`: breaks mousai in every way that is known here, so many times, and says what did not hold."""

from __future__ import annotations

import argparse
import functools
import gc
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from faults.stage import Found, Stage, quietly

FAULTS = ("lost", "traceback", "hang", "leftovers", "wrong line")
Case = tuple[str, Callable[[Stage, random.Random], tuple[Found, str]]]  # its name, as --case takes it, and what happens in it


def main(arguments: list[str] | None = None) -> int:
    asked = parsed(arguments)
    quiet_environment()
    home, top = os.getcwd(), place(Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()))
    try:
        return play(asked, top)
    finally:
        os.chdir(home)
        shutil.rmtree(top, ignore_errors=True)


def place(shared: Path) -> Path:
    """A new folder below `shared` for everything of this run; those of runs that were killed are removed."""
    from mousai.leftovers import sweep, temporary_name

    sweep(shared, "mousai-chaos")
    top = temporary_name(shared / "mousai-chaos")
    top.mkdir(mode=0o700)
    return top


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="every case follows from it and its own name")
    for what, count in (("kills", 100), ("full", 50), ("races", 30), ("damage", 100), ("inputs", 100)):
        parser.add_argument(f"--{what}", type=int, default=count, help=f"cases of that kind, {count} unless given")
    parser.add_argument("--only", help="those commands and kinds alone, such as train,cache or damage")
    parser.add_argument("--case", help="one case alone, by the name that a failing one is told with")
    return parser.parse_args(arguments)


def quiet_environment() -> None:
    """What has to be so before torch is imported: one thread, no network, everything that is kept in the case's own folder."""
    own = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"}
    os.environ.update(own, MOUSAI_CACHE="home")
    signal.signal(signal.SIGINT, signal.default_int_handler)


def play(asked: argparse.Namespace, top: Path) -> int:
    began, stages = time.monotonic(), []
    quietly(lambda: stages.append(Stage(top)))
    cases = list(chosen(asked))
    quietly(lambda: warm(stages[0], {name.split("/")[1] for name, _ in cases}))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    counts: dict[str, Counter] = {}
    print(f"{len(cases)} cases, seed {asked.seed}; ready after {time.monotonic() - began:.0f} s", flush=True)
    with suppress(KeyboardInterrupt):  # the table is of what was done until then
        for number, (name, case) in enumerate(cases, 1):
            found, what = case(stages[0], random.Random(f"{asked.seed} {name}"))
            row = counts.setdefault(name.rpartition("/")[0], Counter())
            row["cases"] += 1
            if found.fault:
                row[found.fault] += 1
                print(f"{found.fault}: --seed {asked.seed} --case {name}: {what}: {' '.join(found.text.split())}", flush=True)
            if number % 100 == 0:
                print(f"{number} cases after {time.monotonic() - began:.0f} s", flush=True)
    print(table(counts))
    print(f"{sum(row['cases'] for row in counts.values())} cases in {time.monotonic() - began:.0f} s")
    return int(any(row[fault] for row in counts.values() for fault in FAULTS))


def warm(stage: Stage, names: set[str]) -> None:
    """Runs commands here once, so that what is imported later is imported before any fork; of none of these names all."""
    import mousai.cli.main as cli
    import typer.main
    from faults.commands import COMMANDS
    from mousai.launch.processes import forget
    undrawn()
    own = [command for command in COMMANDS.values() if command.name in names] or list(COMMANDS.values())
    for command in own:
        if command.processes == 1:
            stage.start(command)
            with suppress(SystemExit):
                cli.main(list(command.words))
            forget()
    typer.main.get_command = functools.cache(typer.main.get_command)  # a third of a short command's time
    typer.main.get_command(cli.app)
    gc.collect()
    gc.freeze()  # or every fork would copy what a collection looks at


def undrawn() -> None:
    """Has pictures be their first bytes: drawing takes longer than everything else about a short piece."""
    from mousai.files import writing
    from mousai.jobs import audition
    from mousai.pictures import piano_roll
    from mousai.pictures.overview import Overview

    def picture(path: str | Path, new: bool = False) -> None:
        with writing(path, new=new) as part:
            part.write_bytes(b"\x89PNG\r\n\x1a\n")

    Overview.add = lambda self, audio: None
    Overview.save = lambda self, path: Path(path).write_bytes(b"\x89PNG\r\n\x1a\n")
    audition.map_png = lambda groups, picks, path, title: picture(path)
    piano_roll.piano_roll_png = lambda score, path, title="", *, new=False: picture(path, new)


def chosen(asked: argparse.Namespace) -> Iterator[Case]:
    """The cases of the kinds, commands and counts that are asked for, or the one."""
    from faults import damage, inputs, kills

    if asked.case:
        kind, name, number = asked.case.split("/")
        module = {"damage": damage, "inputs": inputs}.get(kind)
        yield asked.case, module.act(name, int(number)) if module else kills.act(kind, name)
        return
    only = set(asked.only.split(",")) if asked.only else set()
    for kind, names in (*kills.NAMES.items(), ("damage", damage.NAMES), ("inputs", inputs.NAMES)):
        names = [name for name in names if not only or only & {kind, name}]
        numbers: Counter = Counter()
        for name in kills.shares(names, getattr(asked, kind)):
            numbers[name] += 1
            module = {"damage": damage, "inputs": inputs}.get(kind)
            yield f"{kind}/{name}/{numbers[name]}", module.act(name, numbers[name]) if module else kills.act(kind, name)


def table(counts: dict[str, Counter]) -> str:
    """Rows of kinds, cases and what went wrong in how many, as Markdown."""
    heads = ("what", "cases", *FAULTS, "")
    lines = [(name, *(str(row[key]) for key in ("cases", *FAULTS)), "OK" if not any(row[fault] for fault in FAULTS) else "NOT OK") for name, row in counts.items()]
    total = [str(sum(row[key] for row in counts.values())) for key in ("cases", *FAULTS)]
    lines.append(("in all", *total, "OK" if not any(map(int, total[1:])) else "NOT OK"))
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, ("---",) * len(heads), *lines))


if __name__ == "__main__":
    sys.exit(main())
