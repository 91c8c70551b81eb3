"""Files of pieces to render: YAML, JSON, or JSONL with a piece a line; whatever is wrong in one is said at once.

A piece is written with `prompt` and `seconds` or `minutes`, and perhaps `negative`, or with `sections`, a list of such.
The other keys are the fields of `Piece`; `loudness` may be none. A YAML or JSON file is one piece, or a list under
`pieces`. What a piece leaves away comes from the file's `defaults`, and what these leave away from the command line;
a key that is there with null counts as said. `seconds`, `minutes`, `negative` and `transition` of the defaults, and the
last two of a piece, go to each section without its own. The `.job.json` that a rendered piece has beside it is read too:
all of it is said there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mousai.checks import Problems
from mousai.config import parse_yaml
from mousai.files import read_bytes
from mousai.request.checks import PIECE_CHECKS, SECTION_CHECKS, came, in_seconds, settle, unknown_keys
from mousai.request.piece import Piece, as_made, slug, too_short, without_idle

SETTINGS = tuple(name for name in PIECE_CHECKS if name not in ("title", "number"))
OF_SECTIONS = ("negative", "transition")  # what a piece may say for all its sections
DEFAULTS = (*SETTINGS, "seconds", "minutes", *OF_SECTIONS)
TOP = ("pieces", "prompt", "sections")  # one of them is in every YAML and JSON file
EMPTY = "is empty; expected a piece with prompt and seconds, or several"
LINE_CHARACTERS = 400
LABEL_CHARACTERS = 40
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Written = tuple[str, Any]  # where in the file, and what stands there


def read_jobs(path: str | Path, defaults: Mapping[str, Any] | None = None) -> list[Piece]:
    """The pieces of a job file, in their order, no two of one name; `defaults` are what the command line says.

    Paths in the file are relative to its folder, those in `defaults` to the working folder. A piece that extends a
    recording keeps its loudness unless one is asked for. Of the defaults a piece takes what can do something to it. FileNotFoundError; Problems with all that is wrong, each line
    beginning with where.
    """
    return _JobFile(Path(path)).read(defaults or {})


class _JobFile:
    """A job file on its way to pieces, and the lines of what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []
        self.recordings: dict[str, list[str]] = {}  # what is wrong with each, so that it is looked at once

    def say(self, label: str, lines: Iterable[str]) -> None:
        """Keeps lines about the file, or about what is called `label` in it."""
        for line in lines:
            within = f"{label}{', ' if line.startswith('section ') else ': '}" if label else ""
            self.lines.append(f"{self.path}: {within}{line}")

    def read(self, given: Mapping[str, Any]) -> list[Piece]:
        defaults, written = self.written()
        common, lines = self.settings(given, Path())
        self.lines += [f"command line: {line}" for line in lines]
        more, lines = self.settings(defaults, self.path.parent)
        self.say("defaults", lines)
        common |= more
        pieces = [self.piece(label, data, common) for label, data in written]
        self.say_twins(written, pieces)
        if self.lines:
            raise Problems(map(tidy, self.lines))
        return numbered(pieces)

    def written(self) -> tuple[dict[str, Any], list[Written]]:
        """The file's defaults, and its pieces as they stand there."""
        text = self.text()
        if not text.strip():
            raise self.hopeless(EMPTY)
        if self.path.suffix.lower() == ".jsonl":
            return {}, [parse_line(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        is_json = self.path.suffix.lower() == ".json"
        try:
            data = parse_json(text) if is_json else parse_yaml(text, "")
        except ValueError as error:
            raise self.hopeless(str(error).lstrip(": ")) from error
        if not isinstance(data, dict):
            expected = f"expected a mapping with pieces, or a piece with prompt or sections, came {came(data)}"
            raise self.hopeless(EMPTY if data is None else expected)
        if is_json and isinstance(data.get("piece"), dict) and not data.keys() & set(TOP):
            return {}, [("piece", as_made(data["piece"]))]
        return self.listed(data)

    def listed(self, data: dict[str, Any]) -> tuple[dict[str, Any], list[Written]]:
        """The defaults and the pieces of a mapping that has `pieces` or is one itself."""
        pieces, defaults = data.get("pieces"), data.get("defaults")
        if not isinstance(defaults, (dict, type(None))):
            self.say("defaults", [f"expected a mapping, came {came(defaults)}"])
        defaults = defaults if isinstance(defaults, dict) else {}
        if not data.keys() & set(TOP):
            lines = unknown_keys(data, (*TOP, "defaults", "title", *DEFAULTS))
            self.say("", lines or ["expected pieces, or a piece with prompt or sections"])
            return defaults, []
        if "pieces" not in data:
            return defaults, [("", {key: value for key, value in data.items() if key != "defaults"})]
        self.say("", unknown_keys(data, ("pieces", "defaults"), ("title", *DEFAULTS), "defaults or a piece"))
        if not isinstance(pieces, list) or not pieces:
            self.say("pieces", ["is empty; expected a list of pieces" if pieces in (None, []) else f"expected a list of pieces, came {came(pieces)}"])
            return defaults, []
        return defaults, [(f"piece {number}{quoted(piece)}", piece) for number, piece in enumerate(pieces, 1)]

    def text(self) -> str:
        """What the file says."""
        if self.path.is_dir():
            raise self.hopeless("is a folder; a file of pieces was expected")
        if not self.path.exists():
            raise FileNotFoundError(f"no such file: {self.path}")
        try:
            text = read_bytes(self.path, piped=True).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self.hopeless(f"expected text in UTF-8, byte {error.start} is not") from error
        except ValueError as error:
            raise Problems([tidy(str(error))]) from error
        return text

    def hopeless(self, line: str) -> Problems:
        return Problems([tidy(f"{self.path}: {line}")])

    def settings(self, values: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], list[str]]:
        """The defaults that can be, `minutes` as `seconds`, and a line for each that cannot."""
        lines = unknown_keys(values, DEFAULTS, ("title", "prompt", "sections"), "each piece")
        values, wrong = self.local({key: value for key, value in values.items() if key in DEFAULTS}, folder)
        values, more = in_seconds(values)
        settled, rest = settle(values, PIECE_CHECKS | SECTION_CHECKS)
        return settled, lines + wrong + more + rest

    def local(self, values: dict[str, Any], folder: Path) -> tuple[dict[str, Any], list[str]]:
        """Values with `extend` as a path from anywhere and no loudness where it is "none"; the lines of a recording that cannot be read."""
        values, recording, loudness = dict(values), values.get("extend"), values.get("loudness")
        if isinstance(loudness, str) and loudness.lower() == "none":
            values["loudness"] = None
        if not isinstance(recording, str) or not recording.strip():
            return values, []
        place = os.path.abspath(folder / recording)
        if place not in self.recordings:
            self.recordings[place] = trouble(place)
        return values | {"extend": place}, self.recordings[place]

    def piece(self, label: str, data: Any, common: Mapping[str, Any]) -> Piece | None:
        """The piece that stands there, filled up from `common`; None after saying what is wrong with it."""
        lines = []
        if isinstance(data, ValueError):
            lines = [str(data)]
        else:
            if isinstance(data, dict):
                data, lines = self.filled(data, common)
            try:
                piece = Piece.from_dict(data)
            except Problems as error:
                lines += error.problems
        self.say(label, lines)
        return None if lines else piece

    def filled(self, data: dict[str, Any], common: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """A piece with the defaults of its own and of its sections, and what is wrong with them."""
        data, lines = self.local(data, self.path.parent)
        if "sections" in data:
            own, wrong = settle({name: data.pop(name) for name in OF_SECTIONS if name in data}, SECTION_CHECKS)
            lines = lines + wrong
            each = {name: value for name, value in common.items() if name in SECTION_CHECKS and name not in PIECE_CHECKS} | own
            if isinstance(data["sections"], list):
                data["sections"] = [fill(section, each, first=not index) for index, section in enumerate(data["sections"])]
            common = {name: value for name, value in common.items() if name in PIECE_CHECKS}
        data = fill(data, without_idle(common, common | data), first=True)
        if data.get("extend") is not None:
            data.setdefault("loudness", None)
        return data, lines

    def say_twins(self, written: list[Written], pieces: list[Piece | None]) -> None:
        """Says which titles give the same file name, of pieces that are otherwise wrong too."""
        first: dict[str, str] = {}
        for (label, data), piece in zip(written, pieces, strict=True):
            title = data.get("title") if isinstance(data, dict) else None
            if isinstance(title, str) and title.strip():
                name = piece.name if piece else slug(title)
                if name in first:
                    self.say(label, [f"title: gives the file name {name!r}, as that of {first[name]} does; call one of them otherwise"])
                first.setdefault(name, label)


def fill(values: Any, common: Mapping[str, Any], *, first: bool) -> Any:
    """A mapping with what it leaves away; nothing comes before the `first` section that it could take over from."""
    if not isinstance(values, dict):
        return values
    left_out = {"transition"} if first else set()
    left_out |= {"seconds"} if "minutes" in values else set()
    return {name: value for name, value in common.items() if name not in left_out} | values


def numbered(pieces: list[Piece]) -> list[Piece]:
    """The pieces with numbers for those without a title that would be called as another one; titles come first."""
    taken = {piece.name for piece in pieces if piece.title}
    tried: dict[str, int] = {}
    result = []
    for piece in pieces:
        if not piece.title:
            plain = piece.name
            while piece.name in taken:
                tried[plain] = max(tried.get(plain, 0), piece.number) + 1
                piece = replace(piece, number=tried[plain])
            taken.add(piece.name)
        result.append(piece)
    return result


def trouble(recording: str) -> list[str]:
    """The line of why a piece cannot go on from a recording, if it cannot."""
    if not os.path.exists(recording):
        return [f"extend: no such file: {recording}"]
    from mousai.audio import io

    try:
        seconds = io.info(recording).seconds
    except (ValueError, OSError) as error:
        return [f"extend: {error}"]
    return too_short(recording, seconds)


def tidy(line: str) -> str:
    """A line that is one, of a length that can be read, in characters that can be shown."""
    line = UNPRINTABLE.sub("?", line)
    return line if len(line) <= LINE_CHARACTERS else f"{line[: LINE_CHARACTERS - 1]}…"


def quoted(data: Any) -> str:
    """The title of what may be a piece, for its label."""
    title = data.get("title") if isinstance(data, dict) else None
    title = " ".join(title.split()) if isinstance(title, str) else ""
    short = title if len(title) <= LABEL_CHARACTERS else f"{title[: LABEL_CHARACTERS - 1]}…"
    return f' "{short}"' if title else ""


def parse_line(number: int, line: str) -> Written:
    """The piece in a line of JSONL, or the ValueError of why there is none."""
    try:
        data = parse_json(line)
    except ValueError as error:
        data = error
    return f"line {number}{quoted(data)}", data


def parse_json(text: str) -> Any:
    """A JSON value; ValueError in one line, also for a key that comes twice."""
    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        raise ValueError(f"{line}column {error.colno}: no JSON: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} comes twice")
    return values
