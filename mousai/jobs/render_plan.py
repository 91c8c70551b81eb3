"""What rendering would do, before anything is done: where each piece goes, what is there already, how long it will take."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mousai.audio import io
from mousai.audio.encode import METADATA_MAX_BYTES
from mousai.jobs.places import split_out, write_json
from mousai.jobs.render_state import SUFFIX, differences, is_locked, read_json
from mousai.piece import Piece
from mousai.piece_checks import MAX_PIECE_SECONDS, Problems

if TYPE_CHECKING:
    from mousai.cascade import Cascade
    from mousai.long_form import Rendering

DEFAULT_FORMAT = "flac"
PLAN = "render.json"
FACTS_BYTES = 1000  # of a file's metadata beside the piece
RAW_BYTES_A_SECOND = 48_000 * 2 * 4 + 6_000  # while a piece is made: float samples, and latents
FILE_BYTES_A_SECOND = {"wav": 192_000, "flac": 140_000, "ogg": 24_000, "opus": 20_000}  # about, of finished files


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
        asked = self.piece.to_dict() | {"format": self.format}
        return {name: value for name, value in asked.items() if name not in ("title", "number")}

    def finished(self, fingerprint: str) -> bool:
        """Whether exactly this is there already; ValueError if something else is in its place."""
        if self.state.is_dir():
            return False
        if not self.job.is_file():
            if taken := next((path for path in (self.file, self.picture) if path.exists()), None):
                raise ValueError(f"{taken} is there already; move it, or name another place with --out")
            return False
        made = read_json(self.job)
        other = differences(made.get("asked"), self.asked, "asked") + differences(made.get("fingerprint"), fingerprint, "model")
        if other:
            raise ValueError(f"{self.file} is there already, made with {'; '.join(other[:3])}; move it, or name another place with --out")
        return self.file.is_file()


def targets_of(pieces: Sequence[Piece], out: str | Path | None, format: str | None) -> list[Target]:
    """Where the pieces go: `out` is a folder (default: this one), or a file for a single piece; see `places.split_out`."""
    first = pieces[0].format if len(pieces) == 1 else None
    folder, name, chosen = split_out(out, len(pieces), format if format is not None else first, DEFAULT_FORMAT)
    return [Target(piece, folder, name or piece.name, chosen if name or format else piece.format or chosen) for piece in pieces]


def check(targets: Sequence[Target], fingerprint: str) -> list[Target]:
    """The targets that are still to be made; Problems with everything that is in the way of any of them."""
    to_do, lines = [], []
    for target in targets:
        try:
            _check_length(target)
            if not target.finished(fingerprint):
                to_do.append(target)
        except (ValueError, OSError) as error:
            lines.append(str(error))
    folder = next((place for place in (targets[0].folder, *targets[0].folder.parents) if place.is_dir()), Path("."))
    need, free = disk_bytes(to_do), shutil.disk_usage(folder).free
    if need > free:
        lines.append(f"{folder}: {need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; make room, or name another place with --out")
    if lines:
        raise Problems(lines)
    return to_do


def _check_length(target: Target) -> None:
    """ValueError for what is too long for a file and what it says of itself."""
    if (size := len(json.dumps(target.piece.to_dict(), ensure_ascii=False).encode()) + FACTS_BYTES) > METADATA_MAX_BYTES:
        raise ValueError(f"{target.name}: its sections take {size} bytes of the file's metadata, the limit is {METADATA_MAX_BYTES}; make several pieces of it")
    if target.piece.extend is not None:
        seconds = io.info(target.piece.extend).seconds
        if seconds + target.piece.seconds > MAX_PIECE_SECONDS:
            raise ValueError(f"{target.name}: {target.piece.extend} and what follows last {seconds + target.piece.seconds:.0f} s, the limit is {MAX_PIECE_SECONDS:g} s")


def disk_bytes(targets: Sequence[Target]) -> int:
    """About how many bytes the targets need: all files, and what the longest one takes while it is made."""
    files = sum(seconds_of(target) * FILE_BYTES_A_SECOND[target.format] for target in targets)
    return round(files + max((seconds_of(target) for target in targets), default=0.0) * RAW_BYTES_A_SECOND)


def seconds_of(target: Target) -> float:
    """The length of the file, seconds."""
    before = 0.0 if target.piece.extend is None else io.info(target.piece.extend).seconds
    return before + target.piece.seconds


def write_plan(targets: Sequence[Target]) -> None:
    """Notes in the folder which pieces there will be, for `status`; pieces of other jobs stay noted."""
    path = targets[0].folder / PLAN
    known = {each["name"]: each for each in read_json(path)["pieces"]} if path.is_file() else {}
    known |= {target.name: {"name": target.name, "seconds": seconds_of(target)} for target in targets}
    write_json(path, {"pieces": list(known.values())})


# -- how far -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """How far a piece is: done, failed, at work, stopped or waiting."""

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
    found = {each["name"]: Standing(each["name"], "waiting", each["seconds"]) for each in (read_json(plan)["pieces"] if plan.is_file() else [])}
    for path in sorted(folder.glob("*.job.json")):
        name, made = path.name.removesuffix(".job.json"), read_json(path)
        found[name] = Standing(name, "done", made.get("seconds"), 1.0, text=str(made.get("file", "")))
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        name = path.name.removesuffix(SUFFIX)
        found[name] = _standing(name, path)
    if not found:
        raise ValueError(f"{folder}: nothing was rendered here; --status takes the folder that pieces are rendered to")
    return list(found.values())


def _standing(name: str, state: Path) -> Standing:
    path = state / "progress.json"
    progress = read_json(path) if path.is_file() else {}
    known = {"seconds": progress.get("seconds"), "share": progress.get("share", 0.0), "times_real_time": progress.get("times_real_time")}
    if is_locked(state):
        where = f"{progress.get('doing', 'starting')} on {progress.get('host', 'another machine')}"
        return Standing(name, "at work", **known, left=progress.get("left"), text=where)
    if failed := progress.get("failed"):
        return Standing(name, "failed", **known, text=failed)
    return Standing(name, "stopped", **known, text="the same command goes on with it")


# -- how long ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """What a piece would take: seconds of work on this machine, and where it stands."""

    name: str
    file: str
    seconds: float
    sections: int
    work_seconds: float
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def expected(targets: Sequence[Target], cascade: Cascade) -> list[Expected]:
    """What each target would take, from the time of one pass of the generator and one window of the decoder, tried now."""
    from mousai.long_form import Rendering, grid_of, resolved

    known: dict[tuple, tuple[float, float]] = {}
    rows = []
    for target in targets:
        piece = resolved(cascade, target.piece)[0]
        kind = (piece.method, piece.window, piece.overlap, piece.guidance != 1, piece.interval, piece.codec_steps)
        if kind not in known:
            known[kind] = trial(Rendering(cascade, _alone(piece)))
        per_step, per_sample = known[kind]
        grid, _ = grid_of(cascade, piece)
        steps = grid.count * piece.steps * (cascade.generator.config.sample.resamples if piece.method == "continuation" else 1)
        work = steps * per_step + grid.num_frames * cascade.codec.hop * per_sample
        rows.append(Expected(target.name, target.file.name, seconds_of(target), len(piece.sections), work, disk_bytes([target])))
    return rows


def _alone(piece: Piece) -> Piece:
    """A piece of the same kind with one section, for a trial."""
    return replace(piece, sections=(replace(piece.sections[0], transition=None),), extend=None, loop=False)


def trial(rendering: Rendering) -> tuple[float, float]:
    """Seconds of work for a window's step and for a decoded sample."""
    import torch

    from mousai.diffusion.schedules import schedule

    def timed(work: Callable[[], Any]) -> float:
        work()
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    codec, rows = rendering.codec, rendering.rows_at_once
    times = schedule(rendering.settings.schedule, rendering.settings.steps)
    predict, decode = rendering.predictor(times), codec.config.decode
    x = torch.randn(rows, codec.latent_channels, rendering.grid.window, device=rendering.device)
    latents = x[:1, :, :1].expand(-1, -1, decode.stride_frames + 2 * decode.context_frames).contiguous()
    step = timed(lambda: predict(x, times[:1].expand(rows), [0] * rows).cpu())
    window = timed(lambda: [block.cpu() for block in codec.decode_stream([latents], seeds=[0], steps=rendering.piece.codec_steps)])
    return step / rows, window / (latents.shape[-1] * codec.hop)
