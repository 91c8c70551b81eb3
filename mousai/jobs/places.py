"""Where a job's files go: folders that are made and tried before any work is done, and names that are still free."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mousai import locks
from mousai.audio.write import FORMATS
from mousai.leftovers import sweep

LOCK = ".lock"
LIKE_A_SUFFIX = re.compile(r"[a-z][a-z0-9]{1,3}")  # what a file's name may end in; "v1.0" and "no.4" do not
OTHER_AUDIO = ("aac", "aif", "aiff", "alac", "au", "caf", "m4a", "mp4", "oga", "w64", "webm", "wma")


def split_out(out: str | Path | None, count: int, format: str | None, default: str, formats: tuple[str, ...] = tuple(FORMATS)) -> tuple[Path, str | None, str]:
    """(folder, file name without suffix or None, format) of what `--out` and `--format` say, for `count` files.

    A name that ends in a format is a file's, one that ends in nothing like one a folder's. ValueError where the two do not go together, for a single
    name for several files, and for what ends like a file's name and is none that can be written.
    """
    path = Path(".") if out is None else Path(out)
    suffix = path.suffix.lower().removeprefix(".")
    if (length := len(os.fsencode(path.name))) > longest_name(path.parent):
        raise ValueError(f"{path}: the name has {length} bytes, a file's may have {longest_name(path.parent)} there")
    if format is not None and format not in formats:
        raise ValueError(f"unknown format {format!r}: expected {', '.join(formats)}")
    if path.is_dir() or suffix not in (*formats, *FORMATS, *OTHER_AUDIO):
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file; name a folder, or a file that ends in .{', .'.join(formats)}")
        if LIKE_A_SUFFIX.fullmatch(suffix) and not path.is_dir():
            raise ValueError(f"{path}: .{suffix} cannot be written; use {', '.join(formats)}; if a folder is meant, make it first")
        return path, None, format or default
    if suffix not in formats:
        raise ValueError(f"{path}: .{suffix} cannot be written; use {', '.join(formats)}")
    if format not in (None, suffix):
        raise ValueError(f"{path}: the format is to be {format}, the name says {suffix}")
    if count > 1:
        raise ValueError(f"{path} is one file, there are {count} to be written; name a folder")
    return path.parent, path.stem, suffix


@contextmanager
def ready(folder: Path) -> Iterator[Path]:
    """The folder, made if need be, tried, and swept of what killed processes were writing; it goes again if nothing was written.

    OSError in one line if nothing can be written there.
    """
    made = []
    try:
        for place in reversed((folder, *folder.parents)):
            if not place.exists():
                place.mkdir(exist_ok=True)
                made.append(place)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"\0" * 4096)
    except OSError as error:
        _remove_empty(made)
        raise OSError(f"cannot write to {folder}: {error.strerror or error}; name another place with --out") from None
    sweep(folder)
    try:
        yield folder
    finally:
        _remove_empty(made)


@contextmanager
def claimed(folder: Path, doing: str) -> Iterator[Path]:
    """A folder that is `ready`, for one command at a time; ValueError says who is `doing` something there already."""
    with ready(folder), ExitStack() as stack:
        try:
            stack.enter_context(locks.locked(folder / LOCK))
        except locks.Locked as error:
            raise ValueError(f"{folder}: {error.holder} {doing} there; wait for it, stop it, or name another folder") from None
        try:
            yield folder
        finally:
            with suppress(OSError):  # Windows keeps what is open
                (folder / LOCK).unlink()


def taken(folder: Path, name: str, suffix: str | None, write: Callable[[Path], object]) -> Path:
    """The first `free` name once `write` has written a file, or a folder, there, which takes the name only if nothing has it by then."""
    while True:
        path = free(folder, name, suffix)
        try:
            write(path)
        except FileExistsError:
            continue
        return path


def longest_name(folder: Path) -> int:
    """How many bytes the name of a file in a folder may have."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # not on Windows, or no such folder yet
        return 255


def cut(name: str, num_bytes: int) -> str:
    """As much of a name's beginning as has so many bytes, in whole characters."""
    while len(os.fsencode(name)) > num_bytes:
        name = name[:-1]
    return name


def _remove_empty(folders: list[Path]) -> None:
    for folder in reversed(folders):
        if any(folder.iterdir()):
            return
        folder.rmdir()


def free(folder: Path, name: str, suffix: str | None, beside: tuple[str, ...] = ()) -> Path:
    """The first of name, name-2, name-3, … in a folder that nothing has, with this suffix (or none) or with the endings `beside` it, such as ".png" or "-stems".

    What would be too long for a file's name there is cut. Another process may take the name meanwhile: what is written to it
    is to be `new`, see `files.writing`, and the next free one taken after FileExistsError.
    """
    own = f".{suffix}" if suffix else ""
    longest = longest_name(folder) - max(len(os.fsencode(each)) for each in (own, *beside))
    for number in range(1, 1_000_000):
        ending = "" if number == 1 else f"-{number}"
        numbered = cut(name, longest - len(ending)) + ending
        if not any(os.path.lexists(folder / f"{numbered}{each}") for each in (own, *beside)):
            return folder / f"{numbered}{own}"
    raise ValueError(f"{folder}: too many files are called {name}")
