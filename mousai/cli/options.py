"""What the commands share: options, checks of their values, the progress bar, and how a result is printed."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import os
import sys
import time
import typing
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from mousai.request.music import Music
from mousai.types import MAX_STEPS, SamplingSettings
from mousai.words import printable, say


def report(data: Any, text: str, as_json: bool) -> None:
    """Prints what a command did: `data` as JSON, or `text`."""
    if os.environ.get("RANK", "0") == "0":  # of several processes under a launcher, one speaks
        say(_as_json(data) if as_json else text)


def prepare_output() -> None:
    """What a stream's encoding cannot hold is escaped, what is logged is `printable`: neither stops a job or steers a terminal.

    A warning of Python's is a line like any other, in the name of the library that warns; but what matplotlib has to say, of its own
    folder and fonts, without which it does as well, nobody can act on.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable())
    logging.basicConfig(handlers=[handler])
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    warnings.showwarning = _warned


def _warned(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None) -> None:
    parts = Path(filename).parts
    places = [index for index, part in enumerate(parts[:-1]) if part in ("site-packages", "dist-packages")]
    library = "mousai" if "mousai" in parts and not places else Path(parts[places[-1] + 1] if places else filename).stem
    logging.getLogger(library).warning("%s", " ".join(str(message).split()))


class _Printable(logging.Formatter):
    """Who says it, mousai or a library, and what."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(f"{record.name.partition('.')[0]}: {super().format(record)}")


def _as_json(data: Any) -> str:
    """JSON in which only what a terminal may have stands as it is."""
    text = json.dumps(data, indent=1, ensure_ascii=False, default=str)
    return text if printable(text) == text else json.dumps(data, indent=1, default=str).replace("\x7f", "\\u007f")


def stop_if_signalled(reason: str) -> None:
    """Exit code 130 for a job that a signal ended after it had saved."""
    if reason == "signal":
        raise typer.Exit(130)


def share_processors() -> None:
    """Lets torch's threads sleep while they wait; to be called before torch is imported.

    Threads that spin make small models many times slower where the processors are shared with anything else.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def print_help(context: typer.Context) -> None:
    """What a group of commands does without one."""
    if context.invoked_subcommand is None:
        say(context.get_help())


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where that is a terminal; gives `report(done, total)`. What is piped from stdout stays out of it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    settings = {"transient": True, "disable": not console.is_terminal, "redirect_stdout": sys.stdout.isatty()}
    with Progress(*columns, console=console, **settings) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


FAMILIES = ("mousai", "mulan", "clap")
LINE_SECONDS = 60.0  # between two lines on one part of a job, where there is no terminal


@contextmanager
def phases() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """A bar on stderr for each part of a long job; a line when it begins and every minute where that is no terminal. Gives `begin(what)`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    settings = {"transient": True, "disable": not console.is_terminal, "redirect_stdout": sys.stdout.isatty()}
    with Progress(*columns, console=console, **settings) as progress:
        task = progress.add_task("", total=None)

        def begin(what: str) -> Callable[[int, int], None]:
            progress.reset(task, description=what, total=None)
            return in_lines(what) if not console.is_terminal else lambda done, total: progress.update(task, completed=done, total=total)

        yield begin


def in_lines(what: str) -> Callable[[int, int], None]:
    """Says on stderr that a part of a job begins; gives what says every minute how far it is."""
    say(f"mousai: {what.rpartition(': ')[0] or what}", to=sys.stderr)
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > LINE_SECONDS:
            last = time.monotonic()
            say(f"mousai: {what} {done} of {total}", to=sys.stderr)

    return tell


def between(low: float, high: float, above: bool = False) -> Callable[[Optional[float]], Optional[float]]:
    """A check for an option: a number from `low` (or above it) to `high`; NaN is none."""

    def check(value: Optional[float]) -> Optional[float]:
        if value is None or (low <= value <= high and not (above and value == low)):
            return value
        raise typer.BadParameter(f"expected a number {'above' if above else 'from'} {low:g} {'and at most' if above else 'to'} {high:g}, came {value:g}")

    return check


def checked_family(name: str) -> str:
    """A family of joint encoders."""
    if name not in FAMILIES:
        raise typer.BadParameter(f"expected one of {', '.join(FAMILIES)}, came {name!r}")
    return name


def option(text: str, *names: str, **settings: Any) -> Any:
    """An option with its help text."""
    return typer.Option(*names, help=text, show_default=settings.pop("show_default", True), **settings)


def sampling_options(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of `Music` and `SamplingSettings`, but for those that are `left_out`; those that are given come as the dict `sampling`."""
    kinds = typing.get_type_hints(Music) | typing.get_type_hints(SamplingSettings)
    settings = [each for each in (*fields(Music), *fields(SamplingSettings)) if each.name not in left_out]

    def parameter(name: str, metadata: typing.Mapping[str, Any]) -> inspect.Parameter:
        shown = {"metavar": metadata["show"]} if metadata["show"] else {}
        asked = option(metadata["help"], f"--{name.replace('_', '-')}", *metadata["flags"], **shown)
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kinds[name], asked])

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = {name: each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, each in signature.parameters.items()}
        derived = {each.name: parameter(each.name, each.metadata) for each in settings}

        @functools.wraps(command)
        def wrapper(**values: Any) -> None:
            given = {name: values.pop(name) for name in derived}
            command(**values, sampling={name: value for name, value in given.items() if value is not None})

        parameters = [each for name, one in own.items() for each in (derived.values() if name == "sampling" else [one])]
        wrapper.__signature__ = signature.replace(parameters=parameters)
        wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
        return wrapper

    return decorate


Device = Annotated[str, option("auto, cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str, option("auto, fp32, bf16, fp16.")]
Compile = Annotated[bool, option("Compile the networks first: worth it for much music of one model.", "--compile")]
Listen = Annotated[Optional[bool], option("Whether tempo, bars and key of the recording are heard where nobody says them; they are unless said.", "--listen/--no-listen")]
Family = Annotated[str, option(f"Of the joint encoder: {', '.join(FAMILIES)}.")]
Flow = Annotated[str, option("What draws the vectors of a model that is told some: a folder, a name; auto = the shipped one, where it fits; none.")]
Wordless = Annotated[bool, option("Tell such a model the vectors alone, not the words.", "--wordless")]
Json = Annotated[bool, option("Print one JSON value on stdout.", "--json")]
Model = Annotated[str, option("A model folder, or the name of the shipped one.", "--model", "-m")]
Steps = Annotated[Optional[int], option("Sampling steps; the model's own number unless given.", callback=between(1, MAX_STEPS))]
Settings = Annotated[Optional[list[str]], option("Override of the recipe, such as train.steps=100; may be given often.", "--set")]
