"""What is known of a recording, under one set of names whatever the manifest, side-car or tag calls it."""

from __future__ import annotations

import logging
import re
from typing import Any

from mousai.checks import short
from mousai.theory import chord_tones

logger = logging.getLogger(__name__)

TEXT_FIELDS = ("title", "artist", "album", "key", "metre", "tempo", "style", "caption", "split", "license")
LIST_FIELDS = ("genre", "mood", "instruments")
NUMBER_FIELDS = ("year", "bpm")
FIELDS = (*TEXT_FIELDS, *LIST_FIELDS, *NUMBER_FIELDS)
TIMED_FIELDS = {"downbeats": "seconds", "beats": "seconds", "chords": "pairs of seconds and chord"}
ALIASES = {
    "author": "artist", "performer": "artist", "genres": "genre", "moods": "mood", "instrument": "instruments",
    "bpm_stated": "bpm", "key_stated": "key", "meter": "metre", "time_signature": "metre", "date": "year", "text": "caption", "prompt": "caption",
    "description": "caption", "licence": "license",
}  # fmt: skip
EMPTY = (None, "", [])


def normalise(fields: dict[str, Any], where: str) -> dict[str, Any]:
    """The known fields of `fields` under their own names, empty ones left out, unknown ones ignored.

    Lists may come as one text with commas, semicolons or slashes, numbers as text ("2019-05-01" is the year 2019,
    "120 BPM" a tempo of 120). A tempo that is a number becomes the field `bpm`, one in words stays. A field's own
    name goes before its aliases. `downbeats`, `beats` and `chords` are kept where they are lists in order of time, and left out
    with a line otherwise, for other data sets mean other things by them. Raises ValueError, beginning with `where`, for a value that cannot be its field's.
    """
    named = {name: value for alias, name in ALIASES.items() if (value := fields.get(alias)) not in EMPTY}
    named |= {name: value for name in FIELDS if (value := fields.get(name)) not in EMPTY}
    if "tempo" in named and (beats := as_number(named["tempo"], "bpm")) is not None:
        named = {"bpm": beats} | {name: value for name, value in named.items() if name != "tempo"}
    result = {}
    for name, value in named.items():
        if name in LIST_FIELDS:
            clean = as_list(value)
        elif name in NUMBER_FIELDS:
            clean = as_number(value, name)
        else:
            clean = value.strip() if isinstance(value, str) else None
        if clean is None:
            raise ValueError(f"{where}: the field '{name}' cannot be {short(value)}")
        if clean:
            result[name] = clean
    for name in TIMED_FIELDS:
        if (value := fields.get(name)) in EMPTY:
            continue
        if (times := as_times(value, name)) is None:
            logger.warning("%s: left out the field '%s': expected %s in order of time", where, name, TIMED_FIELDS[name])
        elif times:
            result[name] = times
    return result


def as_list(value: Any) -> list[str] | None:
    if isinstance(value, str):
        value = re.split(r"[,;/]", value)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return [item.strip() for item in value if item.strip()]


def as_number(value: Any, name: str) -> int | float | None:
    """A positive number, whole for a year and wherever it is; None for anything else."""
    if isinstance(value, str):
        digits = re.match(r"\s*(\d+(?:\.\d+)?)", value)
        value = float(digits[1]) if digits else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        return None
    return int(value) if name == "year" or value == int(value) else value


def as_times(value: Any, name: str) -> list | None:
    """Seconds in order, or pairs of seconds in order and a chord's symbol; None for anything else."""
    try:
        times = [time for time, _ in value] if name == "chords" else list(value)
        kept = all(type(time) in (int, float) and abs(time) < 1e9 for time in times) and times == sorted(times)  # no NaN
        for _, symbol in value if name == "chords" else ():
            chord_tones(symbol)
    except (TypeError, ValueError, AttributeError):
        return None
    return value if kept else None


def from_tags(tags: dict[str, str]) -> dict[str, Any]:
    """The fields that a file's own tags give; a date that names no year is left out, for nobody wrote it for us."""
    fields = {name: tags[name] for name in ("title", "artist", "album", "genre") if tags.get(name, "").strip()}
    if re.match(r"[1-9]\d{3}", tags.get("date", "")):
        fields["year"] = tags["date"][:4]
    return normalise(fields, "tags")
