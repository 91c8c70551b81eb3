"""Standard MIDI files, read and written by symusic, and the recipe that ours carry.

A recipe is a text event (FF 01) of the first track, "mousai " and JSON: editors show it or leave it alone, none chokes. Sections are
markers; chords are the lyrics of a track of their own, "chords", which has no notes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mousai.checks import extra
from mousai.files import FINITE_JSON, read_bytes, writing
from mousai.symbolic.phrases import GRID, LONGEST_BAR
from mousai.symbolic.score import Part, Score, notes_of

SUFFIXES = (".mid", ".midi")
MOST_BYTES = 2**24  # of a file; notes and texts of so many take half a gigabyte
MOST_TICKS = 2**31 - 1
MOST_CELLS = 2**20  # bars times parts; a few bytes can ask for any number of them
FEWEST_PARTS = 16  # that are reckoned with there
CHORDS = "chords"
_RECIPE = re.compile(rb"\xff\x01[\x80-\xff]{0,3}[\x00-\x7f](mousai \{)")


def symusic() -> ModuleType:
    """The library, an extra; ValueError says what to install."""
    return extra("symusic", "what reads and writes scores", "symbolic")


def read(path: str | Path) -> Score:
    """The score of a MIDI file; ValueError in one line for what is none, or has no notes, FileNotFoundError for no file."""
    data = read_bytes(path, MOST_BYTES)
    try:
        return decoded(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def decoded(data: bytes) -> Score:
    """The score of a MIDI file's bytes; ValueError for what is none, or has no notes."""
    library = symusic()
    if data[:4] != b"MThd":
        raise ValueError(f"expected a MIDI file, this begins with {data[:4]!r}" if data else "is empty; expected a MIDI file")
    try:
        found = library.Score.from_midi(data)
    except (RuntimeError, ValueError) as error:  # as symusic says whatever is wrong
        said = str(error).splitlines()[0][:100]
        raise ValueError(f"the MIDI file is cut or damaged ({said})") from error
    if found.ticks_per_quarter < 1:
        raise ValueError("the MIDI file is damaged: it has no ticks a quarter")
    if found.note_num() == 0:
        raise ValueError("the MIDI file has no notes")
    if found.end() > MOST_TICKS:
        raise ValueError(f"the MIDI file is damaged: it ends at tick {found.end()}")
    score = Score(
        found.ticks_per_quarter,
        tuple(_part(track) for track in found.tracks if len(track.notes)),
        _in_order((each.time, round(each.qpm, 3)) for each in found.tempos if 0 < each.qpm < math.inf),
        _in_order((each.time, each.numerator, each.denominator) for each in found.time_signatures if each.numerator > 0 and each.denominator > 0),
        _in_order((each.time, each.key, bool(each.tonality)) for each in found.key_signatures),
        _in_order((each.time, each.text) for each in found.markers),
        _in_order((each.time, each.text) for track in found.tracks if track.name == CHORDS for each in track.lyrics),
        recipe_in(data),
    )
    bars = _most_bars(score)
    if bars * max(len(score.parts), FEWEST_PARTS) > MOST_CELLS:
        raise ValueError(f"the MIDI file is damaged, or too long to be read: it has {bars:,} bars of {len(score.parts)} parts")
    return score


def _most_bars(score: Score) -> int:
    """About how many bars a score has on the grid, where long ones are several, without making them."""
    end, bars = score.end, 0
    for (start, numerator, denominator), following in zip(((0, 4, 4), *score.metres), (*(metre[0] for metre in score.metres), end), strict=True):
        quarters = max(min(following, end) - start, 0) / score.ticks
        bars += math.ceil(quarters / min(4 * numerator / denominator, LONGEST_BAR / GRID))
    return bars


def _in_order(events: Any) -> tuple:
    """Events by their tick; of several at one the last holds."""
    return tuple(sorted({event[0]: tuple(event) for event in events}.values()))


def _part(track: Any) -> Part:
    notes = track.notes.numpy()
    rows = np.stack([notes["time"], np.maximum(notes["duration"], 1), notes["pitch"], np.maximum(notes["velocity"], 1)], axis=1)
    return Part(track.name, int(track.program), bool(track.is_drum), notes_of(rows))


def encoded(score: Score) -> bytes:
    """A MIDI file's bytes; they follow from the score alone."""
    library = symusic()
    made = library.Score(score.ticks)
    made.tempos = [library.Tempo(tick, bpm) for tick, bpm in score.tempos]
    made.time_signatures = [library.TimeSignature(*metre) for metre in score.metres]
    made.key_signatures = [library.KeySignature(tick, sharps, int(minor)) for tick, sharps, minor in score.keys]
    made.markers = [library.TextMeta(tick, text) for tick, text in score.sections]
    for part in score.parts:
        track = library.Track(part.name, part.program, part.drums)
        columns = part.notes.astype(np.int32).T
        track.notes = library.Note.from_numpy(columns[0], columns[1], columns[2].astype(np.int8), columns[3].astype(np.int8))
        made.tracks.append(track)
    if score.chords:
        track = library.Track(CHORDS, 0, False)
        track.lyrics = [library.TextMeta(tick, text) for tick, text in score.chords]
        made.tracks.append(track)
    data = made.dumps_midi()
    return data if score.recipe is None else with_recipe(data, score.recipe)


def write(path: str | Path, score: Score, *, new: bool = False) -> None:
    """Writes a MIDI file, whole or not at all; `new` is as of `files.writing`."""
    data = encoded(score)
    with writing(path, new=new) as part:
        part.write_bytes(data)


def with_recipe(data: bytes, recipe: Mapping[str, Any]) -> bytes:
    """The bytes of a MIDI file with a text event at the beginning of its first track."""
    first = 8 + int.from_bytes(data[4:8], "big")
    assert data[first : first + 4] == b"MTrk", "a file of symusic's begins with a track"
    text = b"mousai " + json.dumps(recipe).encode("ascii")
    event = b"\x00\xff\x01" + _length(len(text)) + text
    size = int.from_bytes(data[first + 4 : first + 8], "big") + len(event)
    return data[: first + 4] + size.to_bytes(4, "big") + event + data[first + 8 :]


def recipe_in(data: bytes) -> dict[str, Any] | None:
    """The recipe in a MIDI file's bytes, None where there is none that can be read."""
    found = _RECIPE.search(data)
    if found is None:
        return None
    try:
        recipe, _ = FINITE_JSON.raw_decode(data[found.start(1) + len(b"mousai ") :].decode("latin-1"))
    except (ValueError, RecursionError):  # which deep nesting raises
        return None
    return recipe


def _length(number: int) -> bytes:
    """A number as MIDI's variable-length quantity."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))
