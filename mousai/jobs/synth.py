"""`mousai data synth`: compose and render a licence-free practice set, with a manifest that data sources read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from mousai.audio import io
from mousai.data.synth.compose import compose
from mousai.data.synth.instruments import SAMPLE_RATE
from mousai.data.synth.render import describe_clip, make_clip
from mousai.data.synth.soundfont import load, locate
from mousai.data.synth.styles import STYLES
from mousai.files import read_json, write_text, writing
from mousai.jobs.spread import spread
from mousai.leftovers import sweep
from mousai.symbolic import midi
from mousai.symbolic.midi import symusic
from mousai.symbolic.practice import score_of

FORMATS = {"opus": ("OGG", "OPUS"), "ogg": ("OGG", "VORBIS"), "flac": ("FLAC", "PCM_16"), "wav": ("WAV", "PCM_16")}
SCORES = "mid"  # the format of a set that is not rendered
LICENSE = "CC0-1.0 (made from scratch)"
LISTED_EVERY = 100  # clips, so that a set can be used while it grows
VERSION = 3  # of the composer and renderer: raised when the same seed gives other sound


@dataclass(frozen=True)
class SynthSummary:
    """What a run of `synthesise` did."""

    manifest: Path
    made: int  # files written now
    kept: int  # complete files that were there already
    hours: float  # of the whole set
    soundfont: Path | None = None  # that played it


@dataclass(frozen=True)
class _Settings:
    """What every clip is made with."""

    out: Path
    seed: int
    seconds: float
    format: str
    soundfont: Path | None
    stems: bool
    scores: bool

    def note(self) -> dict:
        """What the folder keeps, so that the same command alone goes on."""
        note = {"version": VERSION, "seed": self.seed, "seconds": float(self.seconds), "format": self.format}
        if self.soundfont:
            note["soundfont"] = {"name": self.soundfont.name, "bytes": self.soundfont.stat().st_size}
        return note | {name: True for name in ("stems", "scores") if getattr(self, name)}


def synthesise(
    out: str | Path,
    count: int,
    seed: int = 0,
    seconds: float = 12.0,
    workers: int | None = None,
    format: str = "opus",
    progress: Callable[[int, int], None] | None = None,
    soundfont: str | Path | None = None,
    stems: bool = False,
    scores: bool = False,
) -> SynthSummary:
    """Write `count` clips and manifest.jsonl below `out`, all classes in turn, every tenth round of classes "valid".

    Clip i depends on (seed, i, seconds) and the SoundFont alone: without one the set's own instruments play; with one (a
    file, or "auto" for a distribution's) all that it can play better. `stems` writes each part beside, `scores` the MIDI file of each
    piece; with the format "mid" there are scores alone. The same command again keeps the files that are there, and a larger count adds to them; the manifest lists what is there, now and then
    on the way and at the end, an interrupt's too. `workers` processes share the work (default: one a usable core).
    `progress(done, total)` is called after each clip. Raises ValueError for settings out of range and for a folder that was
    made with others.
    """
    _check(count, seconds, workers, format)
    if format == SCORES and (soundfont is not None or stems or scores):
        raise ValueError("format: a set of scores alone has no sound; leave soundfont, stems and scores away")
    if format == SCORES or scores:
        symusic()
    font = locate(soundfont) if soundfont is not None else None
    if font:
        load(str(font))  # what is wrong with it is said before anything is written
    settings = _Settings(Path(out), seed, seconds, format, font, stems, scores)
    _claim(settings.out, settings.note())
    for folder in {"scores"} if format == SCORES else {"audio", "scores"} if scores else {"audio"}:
        (settings.out / folder).mkdir(exist_ok=True)
    rows = [_row(settings, index) for index in range(count)]
    missing = [row for row in rows if not _is_whole(settings.out, row)]
    _sweep(settings.out)
    manifest = settings.out / "manifest.jsonl"
    try:
        with closing(spread(partial(_write_clip, settings), missing, workers)) as written:
            for done, _ in enumerate(written, start=count - len(missing) + 1):
                if progress:
                    progress(done, count)
                if done % LISTED_EVERY == 0:
                    _list(manifest, rows)
    finally:  # an interrupted run leaves a whole, smaller set
        _sweep(settings.out)
        _list(manifest, rows)
    return SynthSummary(manifest, len(missing), count - len(missing), count * seconds / 3600, font)


def _list(manifest: Path, rows: list[dict]) -> None:
    """The manifest of the clips that are there."""
    write_text(manifest, "".join(json.dumps(row) + "\n" for row in rows if _is_there(manifest.parent, row)))


def _is_there(out: Path, row: dict) -> bool:
    return all((out / file).exists() for file in (row["file"], *row.get("stems", {}).values(), row.get("score", row["file"])))


def _is_whole(out: Path, row: dict) -> bool:
    """Whether a clip and its stems are there and as long as they have to be; one that is damaged is made again."""
    wanted = round(row["duration"] * SAMPLE_RATE)
    if not (out / row.get("score", row["file"])).exists():
        return False
    if "sample_rate" not in row:
        return True
    for file in (row["file"], *row.get("stems", {}).values()):
        try:
            if io.info(out / file).num_samples != wanted:
                return False
        except (io.AudioError, OSError):
            return False
    return True


def _sweep(out: Path) -> None:
    """Removes what writers that died left behind."""
    for folder in (out / "audio", out / "scores", *(out / "stems").glob("*/")):
        if folder.is_dir():
            sweep(folder)


def _check(count: int, seconds: float, workers: int | None, format: str) -> None:
    if count < 1:
        raise ValueError(f"count must be at least 1 clip, came {count}")
    if not (math.isfinite(seconds) and 1 <= seconds <= 600):
        raise ValueError(f"seconds must lie between 1 and 600, came {seconds}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, came {workers}")
    if format not in (*FORMATS, SCORES):
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, {SCORES}, came {format!r}")


def _claim(out: Path, settings: dict) -> None:
    """Make the folder and note its settings, or see that they are the ones it was made with."""
    note = out / "synth.json"
    if out.exists() and not out.is_dir():
        raise ValueError(f"expected a folder to write to, {out} is a file")
    out.mkdir(parents=True, exist_ok=True)
    if note.exists():
        noted = read_json(note, f"remove {note} if the settings are the same, or choose another folder", dict)
        if noted != settings:
            raise ValueError(f"{out} holds a practice set made with {noted}, asked for {settings}; choose another folder")
    else:
        write_text(note, json.dumps(settings) + "\n")


def _row(settings: _Settings, index: int) -> dict:
    metadata = describe_clip(settings.seed, index, settings.seconds)
    round_of_classes = index // len(STYLES)
    name = f"{index:06d}-{metadata['style']}"
    alone = settings.format == SCORES
    row = {
        "file": f"scores/{name}.mid" if alone else f"audio/{name}.{settings.format}",
        "split": "valid" if round_of_classes % 10 == 1 else "train",
        **metadata,
        "duration": round(settings.seconds * SAMPLE_RATE) / SAMPLE_RATE,
        **({} if alone else {"sample_rate": SAMPLE_RATE}),
        "license": LICENSE,
        "seed": settings.seed,
        "index": index,
    }
    if settings.soundfont:
        row |= {"soundfont": settings.soundfont.name, "license": f"{LICENSE}, sounds from {settings.soundfont.name}"}
    if settings.scores:
        opens = -compose(settings.seed, index, settings.seconds)[0].seconds_of(0.0)  # seconds of the score at which the clip begins
        row |= {"score": f"scores/{name}.mid", "score_start": round(opens, 4)}
    if settings.stems:
        row["stems"] = {part: f"stems/{name}/{part.replace(' ', '-')}.{settings.format}" for part in metadata["parts"]}
    return row


def _write_clip(settings: _Settings, row: dict) -> None:
    """Render one clip, its score first, stems before the mix."""
    score = row["file"] if settings.format == SCORES else row.get("score")
    if score:
        midi.write(settings.out / score, score_of(compose(settings.seed, row["index"], settings.seconds)[0]))
    if settings.format == SCORES:
        return
    font = load(str(settings.soundfont)) if settings.soundfont else None
    clip = make_clip(settings.seed, row["index"], settings.seconds, font, settings.stems)
    comment = {field: row[field] for field in ("seed", "index", "caption")}
    for part, file in row.get("stems", {}).items():
        (settings.out / file).parent.mkdir(parents=True, exist_ok=True)
        _write(settings.out / file, clip.stems[part], settings.format, comment | {"part": part})
    _write(settings.out / row["file"], clip.audio, settings.format, comment)


def _write(path: Path, audio: np.ndarray, format: str, comment: dict) -> None:
    """Written beside and renamed, so that a file that is there is complete."""
    container, subtype = FORMATS[format]
    try:
        with writing(path) as part, soundfile.SoundFile(part, "w", SAMPLE_RATE, 2, subtype, format=container) as sink:
            sink.comment = json.dumps({"mousai_synth": comment})
            sink.write(audio.T)
    except soundfile.LibsndfileError as error:
        raise OSError(f"{path}: cannot be written: {error}; is the disk full?") from error
