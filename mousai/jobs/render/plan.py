"""Where the pieces of a job go, what is in the way or there already, and how far each one is."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mousai.audio import io
from mousai.audio.encode import METADATA_MAX_BYTES
from mousai.checks import Problems
from mousai.files import file_hash, read_json, write_json
from mousai.jobs.places import split_out
from mousai.jobs.render.state import AUDIO, SUFFIX, differences, is_locked
from mousai.request.checks import MAX_PIECE_SECONDS
from mousai.request.piece import Piece, as_made, too_short
from mousai.types import Codec
from mousai.words import size

DEFAULT_FORMAT = "flac"
PLAN = ".mousai-render.json"
NAMES = ("title", "number")  # of a piece: what it is called, not what it is
NAME_MAX_BYTES = 255  # of a file system
FACTS_BYTES = 1000  # of a file's metadata beside the piece
FLOAT_BYTES = 4  # of samples and latents, while a piece is made
SAMPLE_BYTES = {"wav": 2.0, "flac": 1.46, "ogg": 0.25, "opus": 0.21, "mp3": 0.25}  # about, of a sample of a channel in a finished file


@dataclass(frozen=True)
class Target:
    """A piece and where it goes: `folder/name.format`, and beside it the picture, the job and, while it is made, the state."""

    piece: Piece
    folder: Path
    name: str
    format: str

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.{self.format}"

    @property
    def picture(self) -> Path:
        return self.folder / f"{self.name}.png"

    @property
    def job(self) -> Path:
        return self.folder / f"{self.name}.job.json"

    @property
    def state(self) -> Path:
        return self.folder / f"{self.name}{SUFFIX}"

    @property
    def asked(self) -> dict[str, Any]:
        """What identifies the piece, whoever renders it: its description without what names it."""
        return _asked(self.piece.to_dict(), self.format)

    @cached_property
    def recording_hash(self) -> str | None:
        """The hash of the recording that it goes on from."""
        return None if self.piece.extend is None else file_hash(self.piece.extend)

    @cached_property
    def before(self) -> float:
        """Seconds of the recording that it goes on from."""
        return 0.0 if self.piece.extend is None else io.info(self.piece.extend).seconds

    def finished(self, fingerprint: str) -> bool:
        """Whether exactly this is there already, and nothing is left to do; ValueError if something else is in its place."""
        for path in (self.file, self.picture, self.job):
            if path.is_dir():
                raise ValueError(f"{path} is a folder, a file is to be there; move it, or name another place with --out")
        if self.state.is_file():
            raise ValueError(f"{self.state} is a file, the piece is to be kept there while it is made; move it, or name another place with --out")
        taken = next((path for path in (self.file, self.picture) if path.exists()), None)
        begun = self.state.is_dir()  # looked at after the files and before the job, for another process may just finish the piece
        if not self.job.is_file():
            if taken is not None and not begun:
                raise ValueError(f"{taken} is there already; move it, or name another place with --out")
            return False
        made = read_json(self.job, kind=dict)
        other = differences(self._made_as(made), self.asked) + differences(made.get("fingerprint"), fingerprint, "model")
        if self.piece.extend is not None and (made.get("recording") or {}).get("hash") != self.recording_hash:
            other.append(f"another {Path(self.piece.extend).name}")
        if other:
            raise ValueError(f"{self.file} is there already, made with {'; '.join(other[:3])}; move it, or name another place with --out")
        return self.file.is_file() and not begun

    def _made_as(self, made: dict[str, Any]) -> Any:
        """What a job file says that was asked for; where all of it is said now that was left to the model, what came of that."""
        asked, piece = made.get("asked"), made.get("piece")
        if isinstance(asked, dict) and isinstance(piece, dict) and self.asked == (whole := _asked(as_made(piece), asked.get("format"))):
            return whole
        return asked


def _asked(piece: dict[str, Any], format: str | None) -> dict[str, Any]:
    return {name: value for name, value in (piece | {"format": format}).items() if name not in NAMES}


def targets_of(pieces: Sequence[Piece], out: str | Path | None, format: str | None) -> list[Target]:
    """Where the pieces go: `out` is a folder (default: this one), or a file for a single piece; see `places.split_out`."""
    pieces = [piece if piece.extend is None else replace(piece, extend=os.path.abspath(piece.extend)) for piece in pieces]  # as its job file will need it
    first = pieces[0].format if len(pieces) == 1 else None
    folder, name, chosen = split_out(out, len(pieces), format if format is not None else first, DEFAULT_FORMAT)
    return [Target(piece, folder, name or piece.name, chosen if name or format else piece.format or chosen) for piece in pieces]


def check(targets: Sequence[Target], fingerprint: str) -> list[Target]:
    """The targets that are still to be made; Problems with everything that is in the way of any of them."""
    to_do, folder = [], targets[0].folder
    lines = [f"{count} pieces are called {name!r}; give them titles of their own" for name, count in Counter(target.name for target in targets).items() if count > 1]
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    for target in targets:
        try:
            _check_length(target)
            exists = not present.isdisjoint(path.name for path in (target.file, target.picture, target.job, target.state))
            if not (exists and target.finished(fingerprint)):
                to_do.append(target)
        except (ValueError, OSError) as error:
            lines.append(str(error))
    if lines:
        raise Problems(lines)
    return to_do


def check_disk(to_do: Sequence[Target], codec: Codec, at_once: int = 1) -> None:
    """Problems if the disk has no room for what `disk_bytes` says, beside what is begun already."""
    folder = to_do[0].folder
    existing = next((place for place in (folder, *folder.parents) if place.is_dir()), Path("."))
    need, disk = disk_bytes(to_do, codec, at_once) - _bytes_begun(to_do), shutil.disk_usage(existing)
    if need > disk.free and disk.total:  # what has no size is no disk, and cannot be written to
        raise Problems([f"{folder}: {size(need)} are needed, {size(disk.free)} are free; make room, or name another place with --out"])


def _bytes_begun(targets: Sequence[Target]) -> int:
    """What the targets' folders of state hold already, bytes."""
    return sum(file.stat().st_size for target in targets for file in target.state.glob(AUDIO))


def _check_length(target: Target) -> None:
    """ValueError for what is too long for a file and what it says of itself."""
    if (length := len(target.job.name.encode())) > NAME_MAX_BYTES:
        has = len(target.name.encode())
        raise ValueError(f"{target.file}: the name is too long; {has - length + NAME_MAX_BYTES} bytes before its suffix fit, it has {has}")
    if (length := len(json.dumps(target.piece.to_dict(), ensure_ascii=False).encode()) + FACTS_BYTES) > METADATA_MAX_BYTES:
        raise ValueError(f"{target.name}: its sections take {length} bytes of the file's metadata, the limit is {METADATA_MAX_BYTES}; make several pieces of it")
    if target.piece.extend is not None:
        if lines := too_short(target.piece.extend, target.before):
            raise ValueError(f"{target.name}: {lines[0]}")
        if (seconds := seconds_of(target)) > MAX_PIECE_SECONDS:
            raise ValueError(f"{target.name}: {target.piece.extend} and what follows last {seconds:.0f} s, the limit is {MAX_PIECE_SECONDS:g} s")


def disk_bytes(targets: Sequence[Target], codec: Codec, at_once: int = 1) -> int:
    """About how many bytes the targets need: all files, and what the longest ones take while they are made, `at_once` of them."""
    samples = codec.sample_rate * codec.channels  # a second
    files = sum(seconds_of(target) * samples * SAMPLE_BYTES[target.format] for target in targets)
    raw = FLOAT_BYTES * (samples + codec.latent_channels * codec.sample_rate / codec.hop)
    return round(files + sum(sorted(map(seconds_of, targets))[-at_once:]) * raw)


def seconds_of(target: Target) -> float:
    """The length of the file, seconds."""
    return target.before + target.piece.seconds


def write_plan(targets: Sequence[Target]) -> None:
    """Notes in the folder which pieces there will be, for `status`; pieces of other jobs stay noted."""
    path = targets[0].folder / PLAN
    known = {each["name"]: each for each in _planned(path)}
    known |= {target.name: {"name": target.name, "seconds": seconds_of(target)} for target in targets}
    write_json(path, {"pieces": list(known.values())})


def _planned(path: Path) -> list[dict[str, Any]]:
    """The pieces that are noted in a folder."""
    return read_json(path, f"remove {path}", dict).get("pieces", []) if path.is_file() else []


# -- how far -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """How far a piece is: done, failed, at work, stopped, waiting, or damaged, where nobody can tell."""

    name: str
    state: str
    seconds: float | None = None
    share: float = 0.0
    times_real_time: float | None = None
    left: float | None = None  # seconds of work, where somebody is at work on it
    text: str = ""


def status(folder: str | Path) -> list[Standing]:
    """How far the pieces of a folder are; ValueError or FileNotFoundError where nothing was rendered."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}; --status takes the folder that pieces are rendered to")
    plan = folder / PLAN
    found = {each["name"]: Standing(each["name"], "waiting", each["seconds"]) for each in _planned(plan)}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        name = path.name.removesuffix(SUFFIX)
        found[name] = _standing(name, path, found[name].seconds if name in found else None)
    for path in sorted(folder.glob("*.job.json")):  # after the folders, which are gone a moment after these come
        name = path.name.removesuffix(".job.json")
        try:
            made = read_json(path, kind=dict)
            found[name] = Standing(name, "done", made.get("seconds"), 1.0, text=str(made.get("file", "")))
        except (ValueError, OSError) as error:
            found[name] = Standing(name, "damaged", text=str(error))
    if not found:
        raise ValueError(f"{folder}: nothing was rendered here; --status takes the folder that pieces are rendered to")
    return list(found.values())


def _standing(name: str, state: Path, seconds: float | None) -> Standing:
    progress = _progress(state)
    known = {"seconds": progress.get("seconds", seconds), "share": progress.get("share", 0.0)}
    if is_locked(state):
        where = f"{progress.get('doing', 'starting')} on {progress.get('host', 'a machine')}"
        return Standing(name, "at work", **known, times_real_time=progress.get("times_real_time"), left=progress.get("left"), text=where)
    if failed := progress.get("failed"):
        return Standing(name, "failed", **known, text=failed)
    return Standing(name, "stopped", **known, text="the same command goes on with it")


def _progress(state: Path) -> dict[str, Any]:
    """What is noted of a piece, if it is; it may be finished, and this gone, at any moment."""
    with suppress(ValueError, OSError):
        return read_json(state / "progress.json", kind=dict)
    return {}


def note_failure(target: Target, text: str) -> None:
    """Leaves word in the piece's folder, for `status`, if there is one that can be written to."""
    if target.state.is_dir():
        with suppress(OSError):
            write_json(target.state / "progress.json", _progress(target.state) | {"failed": text, "seconds": seconds_of(target)})
