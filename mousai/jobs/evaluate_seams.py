"""`mousai evaluate seams`: whether the boundaries of the windows of long pieces can be found in the finished audio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from mousai.audio import io
from mousai.evaluation.seams import Boundaries, medians, seam_score, sight, table
from mousai.jobs.evaluate import folder_for, save
from mousai.types import Callback

BLOCK_SECONDS = 10


def evaluate_seams(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    every: float | None = None,
    first: float | None = None,
    overlap: float | None = None,
    progress: Callback | None = None,
) -> dict[str, Any]:
    """How much more changes across the boundaries of the windows of long pieces than elsewhere in each.

    `files` are pieces of `mousai render` (or the .job.json beside them), which say where their boundaries lie, or any
    audio, with a boundary `every` so many seconds, the `first` after as many unless given, windows `overlap`ping by 0 s
    unless given. Writes seams.json and seams.md.
    """
    if every is None and (first is not None or overlap is not None):
        raise ValueError("first and overlap say more of boundaries that every says; without it they have no meaning")
    pieces = [_piece(Path(file), every, first, overlap or 0.0) for file in files]
    out, scores = folder_for(out), []
    total = sum(max(1, round(info.seconds)) for _, info, _ in pieces)
    done = 0
    for path, info, boundaries in pieces:
        blocks = _counted(io.blocks(path, info.sample_rate, info.channels, BLOCK_SECONDS * info.sample_rate), info.sample_rate, done, total, progress)
        scores.append(seam_score(blocks, info.sample_rate, boundaries.seconds, overlap=boundaries.overlap))
        done += max(1, round(info.seconds))
    rows = [
        {"file": str(path), "seconds": info.seconds, **asdict(boundaries), **score.to_dict()}
        for (path, info, boundaries), score in zip(pieces, scores)
    ]
    report = {"evaluates": "seams", "files": rows, "median": medians(scores)}
    return save(out, report, f"# seams\n\n{table([(path.name, score) for (path, _, _), score in zip(pieces, scores)])}\n")


def _piece(file: Path, every: float | None, first: float | None, overlap: float) -> tuple[Path, io.AudioInfo, Boundaries]:
    """An audio file, or the one that a .job.json stands beside, and where its windows meet; ValueError where that cannot be looked at."""
    path = _audio_of(file)
    info = io.info(path)
    try:
        boundaries = Boundaries.of(io.read_metadata(path)) if every is None else Boundaries.within(info.seconds, every, first, overlap)
        sight(boundaries.seconds, boundaries.overlap, info.seconds)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return path, info, boundaries


def _audio_of(file: Path) -> Path:
    if not file.name.endswith(".job.json"):
        return file
    names = [file.with_name(f"{file.name.removesuffix('.job.json')}.{suffix}") for suffix in io.FORMATS]
    pieces = [path for path in names if path.is_file()]
    if len(pieces) != 1:
        raise ValueError(f"{file}: expected its piece beside it, as one of {', '.join(path.name for path in names)}; came {len(pieces)} of them")
    return pieces[0]


def _counted(blocks: Iterator[Tensor], sample_rate: int, done: int, total: int, progress: Callback | None) -> Iterator[Tensor]:
    """The blocks, each told as its seconds."""
    num_samples = 0
    for block in blocks:
        yield block
        num_samples += block.shape[-1]
        if progress:
            progress(min(total, done + round(num_samples / sample_rate)), total)
