"""What a long piece is, checked before any model is read: its sections, how they take over from one another, how it is to sound."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

from mousai.checks import Problems
from mousai.config import to_dict
from mousai.request.checks import MAX_PIECE_SECONDS, PIECE_CHECKS, SECTION_CHECKS, came, in_seconds, is_meant, missing, settle, unknown_keys
from mousai.request.music import MUSIC_CHECKS, Music, in_words
from mousai.types import SETTING_CHECKS, SamplingSettings

DEFAULT_TRANSITION = 8.0  # seconds
SHORT_LOOP_SECONDS = 15.0  # shorter loops are made in one window that goes round, where there is room for it
MIN_LEAD_SECONDS = 1.0  # of a recording that a piece can go on from
LOOP_SHARE = 2 / 3  # of a loop that each of several windows takes at most: its end must be another's than its beginning
SLUG_BYTES = 64
EMPTY_PROMPT = 'prompt: is empty; say what to play, for example "slow piano, melancholic"'
WRITTEN = (
    "sections", "title", "seed", "steps", "guidance", "schedule", "rescale", "interval", "codec_steps", "method", "window", "overlap", "loop", "extend",
    "loudness", "true_peak", "format", "number",
)  # the fields of a piece as it is written  # fmt: skip
LATER = (*(name for name in (*SETTING_CHECKS, *MUSIC_CHECKS) if name not in (*WRITTEN, "negative")), "level_sections", "glide", "listen")
NEARLY = 1e-6  # seconds by which sums of decimal lengths may be off


def slug(text: str) -> str:
    """A file name's worth of a text: its words in small letters, joined by hyphens."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower())
    name = "-".join(words).encode()[:SLUG_BYTES].decode(errors="ignore").strip("-")
    return name or "clip"


@dataclass(frozen=True)
class Section:
    """A stretch of a piece under one prompt; "" is none, where a recording is extended. Problems, a ValueError, with a line for each value that cannot be."""

    prompt: str
    seconds: float
    negative: str | None = None
    transition: float | None = None  # seconds over which it takes over from the section before, centred on their boundary; None = 8, or as many as fit
    bpm: float | None = None  # its own tempo

    def __post_init__(self) -> None:
        _keep(self, *settle(vars(self), SECTION_CHECKS))

    @classmethod
    def from_dict(cls, data: Any) -> Section:
        """A section from a mapping of its fields, in which `minutes` may stand for `seconds`."""
        if not isinstance(data, Mapping):
            raise Problems([f"expected a mapping with prompt and seconds, came {came(data)}"])
        lines = unknown_keys(data, (*SECTION_CHECKS, "minutes"), PIECE_CHECKS, "the piece")
        lines += missing(data, lines, "prompt") + missing(data, lines, "seconds", "minutes")
        settled, wrong = _section_values(data)
        if lines := lines + wrong:
            raise Problems(lines)
        return cls(**settled)


@dataclass(frozen=True)
class Piece(SamplingSettings, Music):
    """One piece of up to 24 hours; None means the model's or the renderer's own way.

    Problems, a ValueError, with a line for each thing that cannot be. A transition that is given must end within the
    two sections that it joins and before the next one begins. How to sample is said in the fields of `SamplingSettings`,
    tempo, key, metre and chords in those of `Music`; `negative` goes to each section without its own.
    """

    sections: tuple[Section, ...]
    title: str | None = None
    seed: int = 0
    method: str | None = None  # "joint" or "continuation"
    window: float | None = None  # seconds made at once
    overlap: float | None = None  # seconds that a window shares with the one before
    loop: bool = False  # the end goes on at the beginning
    extend: str | None = None  # path of a recording that the piece goes on from
    loudness: float | None = -14.0  # LUFS, integrated; None = as it comes
    true_peak: float = -1.0  # dBTP, the ceiling
    format: str | None = None  # wav, flac, ogg, opus or mp3; None = whoever renders it chooses
    number: int = 1  # read_jobs counts with it what would otherwise be called the same
    level_sections: bool | None = None  # sections that are much louder or quieter than the rest are brought nearer to it; None = with a loudness
    glide: bool | None = None  # over a transition the tempo goes evenly from one section's to the next's, instead of beginning anew with it
    listen: bool | None = None  # of a recording that it goes on from, tempo, bars and key are heard where nobody says them; None = true

    def __post_init__(self) -> None:
        sections = self.sections if isinstance(self.sections, (tuple, list)) else ()
        if not sections or not all(isinstance(section, Section) for section in sections):
            raise Problems(["sections: expected a Section at least"])
        own = [each if each.negative else replace(each, negative=self.negative) for each in sections] if self.negative else sections
        object.__setattr__(self, "sections", tuple(own))
        object.__setattr__(self, "negative", None)
        settled, lines = settle(vars(self), PIECE_CHECKS)
        lines += [line for section in self.sections for line in _unsaid(vars(section), settled.get("extend") is not None)]
        _keep(self, settled, lines + _together(settled, self.sections) + _several(settled, self.sections) + _lengths(settled, self.sections))

    @property
    def seconds(self) -> float:
        return self.starts[-1] + self.sections[-1].seconds

    @property
    def name(self) -> str:
        """The file name without suffix: after the title, or after the first prompt and the seed."""
        name = slug(self.title) if self.title else f"{slug(self.sections[0].prompt)}-{self.seed}"
        return name if self.number == 1 else f"{name}-{self.number}"

    @property
    def starts(self) -> list[float]:
        """Where each section starts, seconds."""
        return [0.0, *accumulate(section.seconds for section in self.sections[:-1])]

    @property
    def transitions(self) -> list[tuple[float, float]]:
        """(begin, end) in seconds of each inner boundary's transition, centred on it; both are the same where it is a cut."""
        return [(start - half, start + half) for start, half in zip(self.starts[1:], half_transitions(self.sections), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """The piece as JSON has it; `from_dict` gives the same piece back.

        Settings that came later are left out where nothing is said of them: what was begun before them still matches.
        """
        data = to_dict(self)
        data["sections"] = [{name: value for name, value in each.items() if value is not None or name != "bpm"} for each in data["sections"]]
        return {name: data[name] for name in WRITTEN} | {name: data[name] for name in LATER if data[name] is not None}

    @classmethod
    def from_dict(cls, data: Any) -> Piece:
        """A piece from a mapping of its fields, or one section's fields in place of `sections`.

        Problems with every line that there is to say; of a section of a list it begins with "section 2: ".
        """
        if not isinstance(data, Mapping):
            raise Problems([f"expected a mapping with prompt and seconds, or sections, came {came(data)}"])
        of_section = (*SECTION_CHECKS, "minutes")
        lines = unknown_keys(data, ("sections", *PIECE_CHECKS, *of_section), ("pieces", "defaults"), "the file")
        if "sections" in data:
            lines += [f"{name}: belongs to the sections, not here" for name in of_section if name in data and name not in PIECE_CHECKS]
            sections, wrong = _many(data["sections"], data.get("extend") is not None)
        else:
            sections, wrong = _one(data, lines)
            wrong += _unsaid(data, data.get("extend") is not None)
        settled, more = settle(data, PIECE_CHECKS)
        lines += wrong + more + _together(settled, sections)
        if sections and not wrong:
            lines += _several(settled, sections) + _lengths(settled, sections)
        if lines:
            raise Problems(lines)
        return cls(tuple(sections), **settled)


def as_made(data: Any) -> Any:
    """A piece as the recipe of any version has it: what versions before did not know of was not done."""
    sections = data.get("sections") if isinstance(data, Mapping) else None
    if not isinstance(sections, (list, tuple)):
        return data
    data = without_idle(data, data)
    return {"level_sections": False} | data if len(sections) > 1 else data


def without_idle(values: Mapping[str, Any], piece: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without what would do nothing to a `piece` as it is written, which may not say it itself: it is of several sections, or of a recording."""
    sections = piece.get("sections")
    idle = [("listen", True), ("listen", False)] if piece.get("extend") is None else []
    idle += [("glide", True), ("level_sections", True)] if not isinstance(sections, (list, tuple)) or len(sections) == 1 else []
    return {name: value for name, value in values.items() if not any(name == other and value is said for other, said in idle)}


def too_short(recording: str, seconds: float) -> list[str]:
    """The line that a recording of so many seconds is too short for a piece to go on from, if it is."""
    return [f"extend: {recording} lasts {seconds:.3f} s, a piece goes on from {MIN_LEAD_SECONDS:g} s or more"] if seconds < MIN_LEAD_SECONDS else []


def half_transitions(sections: Sequence[Section]) -> list[float]:
    """Half of each inner transition, seconds: as given, else 4, or as many as fit.

    One that is not given takes no more than half of a section, nor what a given one at the section's other end needs.
    """
    given = [None if section.transition is None else section.transition / 2 for section in sections[1:]]
    around = [0.0, *(half or 0.0 for half in given), 0.0]
    halves = []
    for index, (left, right) in enumerate(pairwise(section.seconds for section in sections)):
        room = min(left / 2, right / 2, left - around[index], right - around[index + 2])
        halves.append(max(0.0, min(DEFAULT_TRANSITION / 2, room)) if given[index] is None else given[index])
    return halves


def _keep(thing: Section | Piece, settled: dict[str, Any], lines: list[str]) -> None:
    if lines:
        raise Problems(lines)
    for name, value in settled.items():
        object.__setattr__(thing, name, value)


def _section_values(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    values, lines = in_seconds(data)
    settled, wrong = settle(values, SECTION_CHECKS)
    return settled, lines + wrong


def _one(data: Mapping[str, Any], lines: list[str]) -> tuple[list[Section], list[str]]:
    """The one section of a piece that has its fields, or the lines of why there is none; `lines` tell of unknown keys."""
    settled, wrong = _section_values({name: value for name, value in data.items() if name not in PIECE_CHECKS})
    if not is_meant("sections", lines):
        wrong += missing(data, lines, "prompt", "sections") + missing(data, lines, "seconds", "minutes")
    return [Section(**settled)] if {"prompt", "seconds"} <= settled.keys() and not wrong else [], wrong


def _unsaid(values: Any, extends: bool) -> list[str]:
    """The line that a section's `values` say nothing, where no recording says it instead."""
    prompt = values.get("prompt", ...) if isinstance(values, Mapping) else ...
    empty = prompt is None or isinstance(prompt, str) and not prompt.strip()
    return [EMPTY_PROMPT] if empty and not extends else []


def _many(data: Any, extends: bool) -> tuple[list[Section], list[str]]:
    """The sections that can be made of a list of mappings, and the lines of the others."""
    if not isinstance(data, (list, tuple)) or not data:
        return [], [f"sections: expected a list of sections, came {'an empty one' if data in ([], ()) else came(data)}"]
    made, lines = [], []
    for number, values in enumerate(data, 1):
        lines += [f"section {number}: {line}" for line in _unsaid(values, extends)]
        try:
            made.append(Section.from_dict(values))
        except Problems as error:
            lines += [f"section {number}: {line}" for line in error.problems]
    return made, lines


def _together(values: Mapping[str, Any], sections: Sequence[Section]) -> list[str]:
    """A line for each two things that are right by themselves and do not go together."""
    lines = []
    if values.get("listen") is not None and values.get("extend") is None:
        lines.append("listen: says whether tempo, bars and key of a recording are heard; there is none")
    if values.get("extend") is not None and values.get("loop"):
        lines.append("extend and loop: a recording's end cannot go on at its beginning; leave one of the two away")
    if values.get("extend") is not None and values.get("level_sections"):
        lines.append("extend and level_sections: what goes on from a recording keeps its level; leave one of the two away")
    if values.get("guidance") == 1 and any(section.negative for section in sections):
        lines.append("negative: works through guidance, and guidance 1 is none; raise it, or leave the negative prompt away")
    window, overlap = values.get("window"), values.get("overlap")
    if window is not None and overlap is not None and overlap > window / 2:
        lines.append(f"overlap: expected at most half of the window, {window / 2:g} s, came {overlap:g}")
    return lines


def _several(values: Mapping[str, Any], sections: Sequence[Section]) -> list[str]:
    """A line for each setting of several sections that does nothing for these, or not what it says."""
    lines = []
    if len(sections) == 1 and values.get("level_sections") and values.get("extend") is None:
        lines.append("level_sections: there is one section, which nothing could be brought nearer to; leave it away")
    if len(sections) == 1 and values.get("glide"):
        lines.append("glide: there is one section, whose tempo glides nowhere; leave it away")
    if len(sections) > 1 and values.get("glide") and values.get("loop"):
        whole, last = values.get("bpm"), sections[-1]
        first = sections[0].bpm or whole or in_words(sections[0].prompt).bpm
        if first != (last.bpm or in_words(last.prompt).bpm or whole or first):
            lines.append("glide and loop: a tempo does not glide from the end to the beginning; end with the tempo that the loop begins with, or leave one of the two away")
    return lines


def _lengths(values: Mapping[str, Any], sections: Sequence[Section]) -> list[str]:
    """A line for each length that does not fit: of the whole, of a loop, of a transition that is given."""
    total, lines = sum(section.seconds for section in sections), []
    if total > MAX_PIECE_SECONDS + NEARLY:
        lines.append(f"sections: last {total:g} s together, the limit is {MAX_PIECE_SECONDS:g} s (24 h)")
    window = values.get("window") or 0
    goes_round = total < SHORT_LOOP_SECONDS - NEARLY and window >= total and values.get("method") != "continuation"
    if values.get("loop") and window > total * LOOP_SHARE + NEARLY and not goes_round:
        most = f"{total * LOOP_SHARE:g} s, two thirds of it"
        lines.append(f"window: a loop of {total:g} s has windows of at most {most}; came {window:g} s")
    if sections[0].transition is not None:
        lines.append("section 1: transition: nothing comes before the first section; leave it away")
    too_long = -1
    for index, section in enumerate(sections[1:], 1):
        before, given = sections[index - 1], section.transition
        shorter = min(before.seconds, section.seconds)
        taken = (before.transition or 0.0) if index > 1 else 0.0
        if given is not None and given / 2 > shorter + NEARLY:
            lines.append(f"section {index + 1}: transition: {given:g} s reach beyond the two sections, {2 * shorter:g} s fit at most")
            too_long = index
        elif given is not None and taken and too_long != index - 1 and (given + taken) / 2 > before.seconds + NEARLY:
            room = f"that section's {before.seconds:g} s have room for half of both together"
            lines.append(f"section {index + 1}: transition: {given:g} s overlap the {taken:g} s of section {index}'s; {room}")
    return lines
