"""`mousai data annotate`: a manifest of a data set with the beats, bars and key that are heard in each recording."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mousai.audio.beat_this import tracker
from mousai.audio.hearing import hear_file
from mousai.audio.io import AudioError
from mousai.data.sources import PATH_KEYS, Track, manifest_lines, open_source
from mousai.files import file_hash, parse_json, write_text
from mousai.jobs.spread import spread
from mousai.request.music import MUSIC_CHECKS

VERSION = 1  # of what is heard: raised when the same recording is heard otherwise
LISTED_EVERY = 20  # files, so that what was heard outlives a kill
GRID = ("bpm", "first_beat", "beats", "metre", "downbeats")

Line = dict[str, Any]


@dataclass(frozen=True)
class Annotated:
    """What a run of `annotate` did: lines of the manifest, of which it heard so many now, and what they come to."""

    manifest: Path
    files: int
    heard: int
    beats: int  # files with a beat, heard or said by their line
    bars: int
    keys: int
    skipped: int

    def __str__(self) -> str:
        counts = f"{self.beats} with a beat, {self.bars} with bars, {self.keys} with a key"
        return f"{self.files} files, {self.heard} heard now: {counts}, {self.skipped} skipped: {self.manifest}"


def annotate(
    source: str | Path, out: str | Path, workers: int | None = None, progress: Callable[[int, int], None] | None = None,
    beat_this: Path | None = None,
) -> Annotated:  # fmt: skip
    """Writes to the manifest `out` a line for each recording of `source`, a folder or a manifest, with what is heard in it.

    What a line of the source says stays: a grid of its own (`downbeats` or `beats`), its key and its metre. Its tempo, without
    such a grid, is looked for within 6 % of it, and where beats are clear the one found there replaces it. What is unclear is
    null. The same command again hears only what is new or has changed. `beat_this`, a checkpoint of that tracker, hears the beats
    in place of mousai's own analysis, and keeps to no tempo.
    `workers` processes share the work; `progress(done, total)` is called after each file. Damaged files are left out with
    a line each. ValueError or FileNotFoundError as of `mousai.data.sources.open_source`, and for an `out` that is no place for
    it, such as a manifest that was not made here.
    """
    out = Path(out)
    if ".tar" in str(source):
        raise ValueError(f"{source}: a manifest names files; annotate a folder or a manifest, and make shards of that afterwards")
    if out.suffix != ".jsonl" or (Path(source).is_file() and out.exists() and os.path.samefile(source, out)):
        raise ValueError(f"--out: expected a .jsonl manifest other than the source, came {out}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, came {workers}")
    if beat_this is not None:
        tracker(beat_this)  # a wrong one is told before anything is heard
    ear = VERSION if beat_this is None else f"beat_this {beat_this.name} {file_hash(beat_this)[:12]}"
    earlier, opened = kept(out), open_source(source)
    written, stamps = lines_of(opened.tracks, source, out), {track.key: stamp(track, ear) for track in opened}
    lines = {key: line | earlier[line["file"]] for key, line in written.items() if earlier.get(line["file"], {}).get("heard", {}).get("of") == stamps[key]}
    missing = [track for track in opened if track.key not in lines]
    out.parent.mkdir(parents=True, exist_ok=True)
    with closing(spread(heard_in, [(track.key, track.path, track.metadata, beat_this) for track in missing], workers, chunk=1)) as found:
        for number, (key, fields) in enumerate(found, 1):
            if isinstance(fields, str):
                opened.skip(key, fields)
            else:
                fields["heard"]["of"] = stamps[key]
                lines[key] = written[key] | fields
            if progress:
                progress(len(opened) - len(missing) + number, len(opened))
            if number % LISTED_EVERY == 0:
                write(out, (lines[each] for each in written if each in lines))
    rows = [lines[each] for each in written if each in lines]
    if not rows:
        raise ValueError(f"{source}: holds no usable audio ({len(opened.skipped)} files were skipped)")
    write(out, rows)
    counts = {
        "beats": sum(any(row.get(name) not in (None, []) for name in ("first_beat", "beats", "downbeats")) for row in rows),
        "bars": sum(bool(row.get("downbeats")) for row in rows),
        "keys": sum(bool(row.get("key")) for row in rows),
    }
    return Annotated(out, len(rows), len([track for track in missing if track.key in lines]), **counts, skipped=len(opened.skipped))


def lines_of(tracks: Iterable[Track], source: str | Path, out: Path) -> dict[str, Line]:
    """The line of each track, by its key: its own of a manifest, else what is known of it, and its file as seen from `out`."""
    own: dict[str, Line] = {}
    if str(source).endswith(".jsonl"):
        rows = [parse_json(text, f"{source}, line {number}", dict) for number, text in manifest_lines(Path(source))]
        own = {next(row[name] for name in PATH_KEYS if row.get(name)): {name: value for name, value in row.items() if name not in PATH_KEYS} for row in rows}
    beside = out.absolute().parent
    return {track.key: {"file": relative(track.path, beside)} | own.get(track.key, track.metadata) for track in tracks}


def relative(path: Path, folder: Path) -> str:
    """A path as seen from a folder; the whole path where they are of different drives."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.absolute().as_posix()


def kept(out: Path) -> dict[str, Line]:
    """What an earlier run heard, by the file of its line; ValueError for a manifest that is not of such a run, and is not to be lost."""
    if not out.exists():
        return {}
    found, names = {}, (*GRID, "key", "heard")
    for number, text in manifest_lines(out):
        row = parse_json(text, f"{out}, line {number} (remove it to begin anew)", dict)
        if not isinstance(row.get("heard"), dict) or not isinstance(row.get("file"), str):
            raise ValueError(f"--out: {out}, line {number} was not written by annotate, and would be lost; name another file, or remove this one")
        found[row["file"]] = {name: row[name] for name in names if name in row}
    return found


def stamp(track: Track, ear: int | str) -> list[Any]:
    """What must be the same for what was heard in a file to stay: by what, the file's size and time of change, and what its line says of its music."""
    status = track.path.stat()
    return [ear, status.st_size, status.st_mtime_ns, {name: track.metadata[name] for name in (*GRID, "key") if name in track.metadata}]


def heard_in(given: tuple[str, Path, Line, Path | None]) -> tuple[str, Line | str]:
    """The fields that are heard in a file and that its metadata do not say, or what is wrong with it."""
    key, path, metadata, beat_this = given
    torch.set_num_threads(1)
    known = {name: checked(name, metadata.get(name)) for name in ("bpm", "metre")}
    try:
        heard = hear_file(path, **known, beat_this=beat_this)
    except AudioError as error:
        return key, str(error)
    fields = heard.fields()
    if "downbeats" in metadata or "beats" in metadata:
        said = [*GRID, "key"] if metadata.get("key") else GRID
    else:  # a tempo and metre to which the beats keep
        said = [name for name in ("bpm", "metre", "key") if name in metadata and (name != "bpm" or fields["first_beat"] is None)]
    return key, {name: value for name, value in fields.items() if name not in said} | {"heard": heard.clarity()}


def checked(name: str, value: Any) -> Any:
    """A tempo or metre as a line says it; None for one that is none of ours."""
    try:
        return MUSIC_CHECKS[name](name, value)
    except ValueError:
        return None


def write(out: Path, rows: Iterable[Line]) -> None:
    write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
