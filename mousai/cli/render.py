"""The commands of long pieces: render, extend, replay. They parse, call one job and tell how it goes."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Optional, TextIO

import typer

from mousai.cli.options import Compile, Device, Dtype, Json, Listen, Model, option, report, sampling_options, share_processors
from mousai.words import clock, real_time, say

JOB_SUFFIXES = (".yaml", ".yml", ".json", ".jsonl")

Out = Annotated[Optional[Path], option("A folder, or a file name for one piece; this folder unless given.", "--out", "-o")]
Format = Annotated[Optional[str], option("wav, flac, ogg, opus, mp3; flac unless the file name says another.", "--format", "-f")]
Method = Annotated[Optional[str], option("joint: windows are denoised together; continuation: one after the other.")]
Window = Annotated[Optional[float], option("Seconds made at once; what the model was trained on unless given.")]
Overlap = Annotated[Optional[float], option("Seconds that windows share; a quarter unless given.")]
Loudness = Annotated[Optional[str], option("LUFS of the whole piece, or none; -14 unless given.")]
TruePeak = Annotated[Optional[float], option("Ceiling of the true peak in dBTP; -1 unless given.")]
Seed = Annotated[Optional[int], option("Of all noise; 0 unless given.")]


@sampling_options("sampler")
def render(
    what: Annotated[Optional[str], typer.Argument(help="What to play, or a job file (.yaml, .json, .jsonl).", metavar="PROMPT|JOBS", show_default=False)] = None,
    minutes: Annotated[Optional[float], option("Length of a prompt's piece.")] = None,
    seconds: Annotated[Optional[float], option("Length of a prompt's piece, in seconds.", "--seconds", "-s")] = None,
    bars: Annotated[Optional[int], option("Length of a prompt's piece, in bars of its tempo.")] = None,
    out: Out = None,
    format: Format = None,
    seed: Seed = None,
    sampling: Optional[dict[str, Any]] = None,
    method: Method = None,
    window: Window = None,
    overlap: Overlap = None,
    loop: Annotated[bool, option("Make the end meet the beginning.", "--loop")] = False,
    loudness: Loudness = None,
    true_peak: TruePeak = None,
    level_sections: Annotated[Optional[bool], option("Bring sections that are much louder or quieter nearer to the rest; with a loudness unless said.", "--level-sections/--no-level-sections")] = None,
    dry_run: Annotated[bool, option("Say what would be made, how long it takes and how much disk it needs.", "--dry-run")] = False,
    status: Annotated[Optional[Path], option("Say how far the pieces of a folder are.", metavar="FOLDER")] = None,
    model: Model = "starter",
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    as_json: Json = False,
) -> None:
    """Make long pieces, of minutes to hours. The same command again goes on where it stopped."""
    if status is not None:
        _status(status, as_json)
        return
    said = sampling | _given(dict(seed=seed, method=method, window=window, overlap=overlap, true_peak=true_peak, level_sections=level_sections))
    pieces = _pieces(what, minutes, seconds, bars, loop, said | _loudness(loudness))
    share_processors()
    place = {"device": device, "dtype": dtype, "compile": compile}
    if dry_run:
        from mousai.jobs.render.job import dry_run as run

        say("mousai: trying how fast this machine is", to=sys.stderr)
        found = run(pieces, model, out, format, **place)
        report(found, _expected(found), as_json)
        return
    _render(pieces, model, out, format, place, as_json)


@sampling_options("sampler")
def extend(
    recording: Annotated[Path, typer.Argument(help="What to go on from.", metavar="FILE")],
    seconds: Annotated[float, option("How much is added.", "--seconds", "-s")],
    prompt: Annotated[Optional[str], option("What to play; unless given, what the file says it is, or nothing.", "--prompt", "-p")] = None,
    out: Out = None,
    format: Format = None,
    seed: Seed = None,
    sampling: Optional[dict[str, Any]] = None,
    method: Method = None,
    window: Window = None,
    overlap: Overlap = None,
    listen: Listen = None,
    loudness: Annotated[Optional[str], option("LUFS of the whole; the recording's own level unless given.")] = None,
    true_peak: TruePeak = None,
    model: Model = "starter",
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    as_json: Json = False,
) -> None:
    """Go on from a recording; its own samples stay as they are but for the last 30 ms."""
    from mousai.audio import io
    from mousai.jobs.replay import prompt_of
    from mousai.request.piece import Piece

    io.info(recording)
    text = prompt_of(recording) if prompt is None else prompt
    prompted = text or sampling.get("negative")
    if not prompted and sampling.get("guidance", 1) != 1:
        raise ValueError(f"guidance: {recording} carries no prompt that could be followed; give one with --prompt")
    said = _given(dict(seed=seed, method=method, window=window, overlap=overlap, true_peak=true_peak))
    piece = {"prompt": text, "seconds": seconds, "extend": str(recording), "title": f"{recording.stem} extended", "loudness": None, "listen": listen}
    piece |= sampling | said | _loudness(loudness) | ({} if prompted else {"guidance": 1.0})
    share_processors()
    if prompt is None:
        goes_on = f"ends with {text!r}, it goes on with that" if text else "carries no prompt, it goes on without one; --prompt says what to play"
        say(f"mousai: {recording} {goes_on}", to=sys.stderr)
    _render([Piece.from_dict(piece)], model, out, format, {"device": device, "dtype": dtype, "compile": compile}, as_json)


def replay(
    file: Annotated[Path, typer.Argument(help="A file that mousai made.", metavar="FILE")],
    out: Annotated[Optional[Path], option("The new file; FILE-replay beside it unless given.", "--out", "-o")] = None,
    recording: Annotated[Optional[Path], option("What FILE goes on from or was made of, if it is not beside it.")] = None,
    model: Annotated[Optional[str], option("A model folder; the shipped one if FILE names it.", "--model", "-m")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Annotated[bool, option("Compile the networks first, as for a file that was made so.", "--compile")] = False,
    as_json: Json = False,
) -> None:
    """Make a file again from the recipe in its own metadata, and say whether it is the same."""
    share_processors()
    if file.suffix.lower() in (".mid", ".midi"):
        if (device, dtype, compile) != ("auto", "auto", False):
            raise ValueError(f"{file}: scores are composed on the CPU; leave --device, --dtype and --compile away")
        return _replay_score(file, out, model, recording, as_json)
    from mousai.jobs.replay import replay as run

    with _listener(None) as listener:
        done = run(file, model, out, recording=recording, device=device, dtype=dtype, compile=compile, listener=listener, progress=listener.steps)
    if done is None:
        raise typer.Exit(130)
    report(done.to_dict(), f"{done.path}: {_difference(done)}", as_json)


def _replay_score(file: Path, out: Path | None, model: str | None, going_on: Path | None, as_json: bool) -> None:
    from mousai.jobs.compose_again import replay as run

    done = run(file, model, out, going_on)
    why = f"; {done.file.name} was made with {'; with '.join(done.differs)}" if done.differs else ""
    text = f"the same {'notes' if done.differs else 'bytes'}" if done.same else f"differs from {done.first_difference:.3f} s on"
    report(done.to_dict(), f"{done.path}: {text}{why}", as_json)


def _pieces(what: str | None, minutes: float | None, seconds: float | None, bars: int | None, loop: bool, said: dict[str, Any]) -> list[Any]:
    """The pieces that the command line means: of a job file, or one of a prompt."""
    from mousai.request.job_file import read_jobs
    from mousai.request.music import in_bars
    from mousai.request.piece import Piece

    if what is None:
        raise ValueError('nothing to render: say what to play, for example "slow piano, melancholic" --minutes 10, or name a job file')
    if Path(what).suffix.lower() in JOB_SUFFIXES:
        if minutes is not None or seconds is not None or bars is not None:
            raise ValueError("--minutes, --seconds and --bars are for a prompt; a job file says how long its pieces are")
        return read_jobs(what, said | ({"loop": True} if loop else {}))
    if os.path.exists(what) and (Path(what).suffix or os.sep in what):  # no prompt, which may be called as a folder here is
        raise ValueError(f"{what}: expected a prompt, or a job file, whose name ends in {', '.join(JOB_SUFFIXES)}; to go on from a recording use mousai extend")
    if [minutes, seconds, bars].count(None) != 2:
        raise ValueError("how long: give --minutes, --seconds or --bars, one of the three")
    if bars is not None:
        seconds, music = in_bars(bars, what, said)
        said = said | music
    return [Piece.from_dict({"prompt": what, "loop": loop} | _given({"minutes": minutes, "seconds": seconds}) | said)]


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _loudness(text: str | None) -> dict[str, Any]:
    """What --loudness says; None for none is a value of its own."""
    if text is None:
        return {}
    try:
        return {"loudness": None if text.lower() == "none" else float(text)}
    except ValueError:
        raise ValueError(f"--loudness: expected LUFS such as -14, or none; came {text!r}") from None


def _render(pieces: list[Any], model: str, out: Path | None, format: str | None, place: dict[str, str], as_json: bool) -> None:
    from mousai.jobs.render.job import render as run

    began = time.monotonic()
    with _listener(None if as_json else sys.stdout) as listener:
        summary = run(pieces, model, out, format, listener=listener, **place)
    if as_json or len(pieces) > 1:
        report(summary.to_dict(), _summary(summary, time.monotonic() - began), as_json)
    if summary.code and os.environ.get("RANK", "0") == "0":  # whoever speaks: a launcher ends the others when one fails
        raise typer.Exit(summary.code)


def _summary(summary: Any, wall: float) -> str:
    """What became of several pieces, and once more which of them failed."""
    from mousai.cli.progress import new_seconds

    done = summary.of("done")
    counts = [f"{len(summary.of(state))} {words}" for state, words in (
        ("done", "made"), ("there", "there already"), ("failed", "failed"), ("stopped", "left, which the same command goes on with"),
        ("busy", "in other hands"),
    ) if summary.of(state)]  # fmt: skip
    seconds = sum(map(new_seconds, done))
    speed = f"; {clock(seconds)} in {clock(wall)}, {real_time(seconds / max(wall, 1e-9))}" if done else ""
    return "\n".join([", ".join(counts) + speed, *(f"failed: {result.name}: {result.text}" for result in summary.of("failed"))])


def _expected(found: dict[str, Any]) -> str:
    rows = [("piece", "file", "length", "sections", "work", "disk")]
    rows += [
        (row["name"], row["file"], clock(row["seconds"]), str(row["sections"]), clock(row["work_seconds"]), f"{row['bytes'] / 1e6:.0f} MB")
        for row in found["pieces"]
    ]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows] if found["pieces"] else []
    seconds, work = (sum(row[name] for row in found["pieces"]) for name in ("seconds", "work_seconds"))
    lines.append(f"{len(found['pieces'])} to make: {clock(seconds)} of music, about {clock(work)} of work on this machine; {len(found['there'])} there already")
    return "\n".join(lines)


def _status(folder: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from mousai.jobs.render.plan import status as run

    found = run(folder)
    lines = []
    for each in found:
        speed = real_time(each.times_real_time) if each.times_real_time else ""
        left = f"{clock(each.left)} left" if each.left is not None else ""
        length = clock(each.seconds) if each.seconds else ""
        lines.append("  ".join(part for part in (f"{each.state:<8}{100 * each.share:4.0f} %", f"{length:>8}", each.name, speed, left, each.text) if part))
    done = sum(each.state == "done" for each in found)
    report([asdict(each) for each in found], "\n".join([*lines, f"{done} of {len(found)} done"]), as_json)


def _difference(done: Any) -> str:
    """How a replayed file compares, and what may be the reason."""
    from mousai.jobs.replay import ROUNDING

    if done.same:
        return "the same samples"
    if done.lengths is not None:
        text = f"has {done.lengths[1]}, {done.file.name} has {done.lengths[0]}"
    else:
        by = f"by {20 * math.log10(done.largest_difference):.0f} dB at most"
        text = f"the same but for rounding, {by}" if done.largest_difference <= ROUNDING else f"differs from {done.first_difference:.3f} s on, {by}"
    why = f"was made with {'; with '.join(done.differs)}" if done.differs else "may have been made with another number of threads, or in a batch"
    return f"{text}; {done.file.name} {why}"


@contextmanager
def _listener(results: TextIO | None) -> Iterator[Any]:
    """Two bars on stderr, one for the job and one for the piece; lines now and then where that is no terminal or there are several processes. Finished files go to `results`."""
    from rich.console import Console

    from mousai.cli.progress import Bars, Lines

    console = Console(stderr=True)
    single = int(os.environ.get("WORLD_SIZE", "1")) == 1  # bars of several processes would draw over one another
    with (Bars(console, results) if console.is_terminal and single else Lines(sys.stderr, results)) as listener:
        yield listener
