"""The files below a folder of audio, with their side-cars, and what cannot be looked into."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mousai.checks import Problems
from mousai.data.sidecars import KINDS, NEVER_AUDIO, SIDECAR_BYTES, decoded, sidecar_metadata
from mousai.files import read_bytes

Names = Mapping[tuple[str, str], str]  # of what lies in a folder, by stem and suffix in small letters
Skip = Callable[[str, str], None]  # (key, reason)


def folder_files(folder: Path, skip: Skip) -> list[tuple[str, Path, dict[str, Any]]]:
    """Every file below `folder` that may be audio, as (key, path, what its side-cars say), in the order of their keys.

    A side-car has the same name with .json (fields) or .txt (caption), in letters of any case. `skip` hears of what
    cannot be looked into. Problems, with a line for each side-car that is damaged.
    """
    found, problems = [], []
    for key, beside in sorted(walked(folder, skip), key=lambda each: each[0].split("/")):
        name = key.rpartition("/")[2]
        stem, suffix = name_and_suffix(name)
        if suffix.lower() in NEVER_AUDIO:
            continue
        path = folder / key
        sides = {kind: path.with_name(beside[stem, kind]) for kind in KINDS if (stem, kind) in beside}
        try:
            texts = {kind: decoded(read_bytes(side, SIDECAR_BYTES), side) for kind, side in sides.items() if side.is_file()}
            found.append((key, path, sidecar_metadata(texts, str(path))))
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if problems:
        raise Problems(problems)
    return found


def walked(folder: str | Path, skip: Skip, prefix: str = "") -> Iterator[tuple[str, Names]]:
    """The files below a folder, hidden ones left out, by their paths in it, each with what lies beside it."""
    try:
        with os.scandir(folder) as listed:
            entries = [entry for entry in listed if not entry.name.startswith(".")]
    except OSError as error:
        skip(prefix.rstrip("/") or str(folder), f"cannot be looked into ({error.strerror})")
        return
    names = {(stem, suffix.lower()): entry.name for entry in entries for stem, suffix in [name_and_suffix(entry.name)]}
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walked(entry.path, skip, f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path):
            yield prefix + entry.name, names
        else:
            skip(prefix + entry.name, odd(entry.path))


def odd(path: str) -> str:
    """Why a path that is neither a file nor a folder is left out."""
    if os.path.isdir(path):
        return "a link to a folder, which is not followed; name it as a source of its own"
    return "no regular file" if os.path.exists(path) else "a link to nothing"


def name_and_suffix(name: str) -> tuple[str, str]:
    """As pathlib divides a name."""
    dot = name.rfind(".")
    return (name[:dot], name[dot:]) if 0 < dot < len(name) - 1 else (name, "")
