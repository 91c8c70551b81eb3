"""Checks of what somebody has asked for: each says in one line what was expected, what came and, where it can, what was meant."""

from __future__ import annotations

import difflib
import importlib
import json
import math
import reprlib
import warnings
from collections.abc import Iterable
from types import ModuleType
from typing import Any

SHOWN = 60  # letters of a value that a message shows
MAX_WORKERS = 1024  # processes that one loads its data with
MAX_TEXT_BYTES = 4000  # of a prompt as JSON; it travels in the metadata of the file


class _Short(reprlib.Repr):
    """repr() of a few levels and items, whatever the whole would take."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 3, 4 * SHOWN, 4 * SHOWN, 4 * SHOWN
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = SHOWN // 2


def short(value: object) -> str:
    """A value as a message shows it: its repr, or the beginning of that."""
    text = _Short().repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}…"


class Problems(ValueError):
    """Everything that is wrong with what was given; `problems` has a line for each."""

    def __init__(self, problems: Iterable[str]) -> None:
        if isinstance(problems, str):  # as who makes an error again from its type and text would have it
            raise TypeError("problems: expected lines, came a text")
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """", did you mean 'ddim'?" for the nearest of `known`, "" where none is near."""
    near = nearest(name, known)
    return f", did you mean {near!r}?" if near else ""


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The one of `known` that is most like `name`, None where none is like it."""
    return next(iter(difflib.get_close_matches(name[:SHOWN] if isinstance(name, str) else short(name), list(known), n=1)), None)


def check_name(what: str, name: str | None, known: Iterable[str]) -> None:
    """ValueError unless `name` is None or one of `known`."""
    known = tuple(known)
    if name is not None and name not in known:
        raise ValueError(f"{what}: expected {', '.join(known)}; came {short(name)}{did_you_mean(name, known)}")


def check_number(
    name: str, value: Any, low: float, high: float, *, whole: bool = False, above: bool = False, unit: str = ""
) -> None:
    """ValueError unless `value` is None or a (whole) number from `low` (or `above` it) to `high`."""
    if value is None:
        return
    is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (above and value == low):
        kind = "a whole number" if whole else "a number"
        least, most = (str(bound) if whole else f"{bound:g}" for bound in (low, high))
        came = f"{value:g}" if isinstance(value, float) and not whole else short(value)
        raise ValueError(f"{name}: expected {kind} {'above' if above else 'from'} {least} {'and at most' if above else 'to'} {most}{unit}, came {came}")


def checked_pair(name: str, value: Any) -> tuple[float, float]:
    """The two numbers of a pair; ValueError for anything else."""
    numbers = tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(numbers) != 2 or not all(isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n) for n in numbers):
        raise ValueError(f"{name}: expected two numbers, came {short(value)}")
    return numbers


def within(value: Any, *names: str) -> dict[str, Any]:
    """What a nested value, which others may have written, has under these names, one in the other: a dict, empty where it has none there."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def checked_text(text: str, what: str, may_be_empty: bool = False, such_as: str = 'say what to play, for example "slow piano, melancholic"') -> str:
    if not isinstance(text, str):
        raise ValueError(f"{what}: expected text, came {short(text)}")
    text = text.strip()
    if not text and not may_be_empty:
        raise ValueError(f"{what}: is empty; {such_as}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{what}: is not valid UTF-8 text")
    if (size := len(json.dumps(text, ensure_ascii=False).encode())) > MAX_TEXT_BYTES:
        raise ValueError(f"{what}: has {size} bytes, the limit is {MAX_TEXT_BYTES}")
    return text


def extra(package: str, what: str, name: str | None = None, module: str | None = None, otherwise: str = "") -> ModuleType:
    """The module of an optional package, or one of its modules; ValueError names the extra (`name`, by default the package's) to install for `what`, and what to do `otherwise`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what a package means to change in itself
            return importlib.import_module(module or package)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package:
            raise  # the package is here, and lacks one of its own
        raise ValueError(f"{what} needs the package {package}: `pip install 'mousai[{name or package}]'`{otherwise and ', or '}{otherwise}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory is too little, torch's of a GPU or of the CPU among them; torch need not be imported."""
    said = ("can't allocate memory", "Storage size calculation overflowed")
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in said)
