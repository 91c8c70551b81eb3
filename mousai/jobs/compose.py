"""`mousai compose`: a score for each prompt as a MIDI file with its recipe inside, its piano roll beside it, and its sound where asked for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mousai.data.synth.styles import STYLES
from mousai.files import file_hash
from mousai.jobs.compose_sound import STEMS, VARIED, Rendering, Varying, check_sound, font_of, render, told_of
from mousai.jobs.places import free, ready, split_out, taken
from mousai.pipelines.symbolic import Symbolic, check_composer, check_infills, load
from mousai.request.instruments import NAMES, programs
from mousai.request.music import MUSIC_CHECKS, in_few_words
from mousai.request.piece import EMPTY_PROMPT, slug
from mousai.request.score import Infill, ScoreRequest, Words, words_of
from mousai.request.score_piece import ScorePiece
from mousai.request.vocabulary import in_known_words
from mousai.symbolic import midi
from mousai.symbolic.excerpt import region_of
from mousai.symbolic.harmony import NO_CHORD, chord_symbol, chords_of
from mousai.symbolic.phrases import GRID
from mousai.symbolic.plan import plan_going_on, plan_of, wishes_of
from mousai.symbolic.players import left_out, named_in, not_wanted_in
from mousai.symbolic.score import Score
from mousai.symbolic.sections import plans_of
from mousai.words import real_time

STARTER = "starter-symbolic"
KEPT = ("instruments", "without", "mode", "tempo")  # of a score that is there


@dataclass(frozen=True)
class Composed:
    """One finished score and what lies beside it; `heard` says which words of the prompt became what, `unheard` which nothing."""

    path: Path
    picture: Path | None
    audio: Path | None
    varied: Path | None  # the audio as an audio model has varied it
    stems: tuple[Path, ...]
    bars: int
    notes: int
    seconds: float  # that it lasts
    took: float  # seconds of composing
    rendered_in: float  # and of rendering
    new_seconds: float  # of it that were composed, which of a score that was there is less than all
    tracks: tuple[tuple[str, str], ...]  # name and instrument of each part, in the order of their numbers
    words: Words
    told: Mapping[str, Any]  # key, metre and tempo, where they stay
    sections: tuple[tuple[str, Words], ...] = ()  # of a piece in sections what each of them says, by its name

    def to_dict(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("bars", "notes", "seconds", "new_seconds", "took", "rendered_in")} | {"tracks": [{"name": name, "instrument": instrument} for name, instrument in self.tracks]}
        places = {name: place and str(place) for name in ("path", "picture", "audio", "varied") for place in [getattr(self, name)]}
        sections = [{"name": name, "heard": words.heard, "unheard": list(words.unheard)} for name, words in self.sections]
        said = {"heard": self.words.heard, "unheard": list(self.words.unheard), **({"sections": sections} if sections else {})}
        return {**places, "stems": [str(stem) for stem in self.stems], **own, **said}


@dataclass(frozen=True)
class Before:
    """A score that is there already, in a file: to be gone on from, or a part of it to be made anew."""

    file: Path
    score: Score
    infill: Infill | None = None

    @classmethod
    def read(cls, file: str | Path, infill: Infill | None = None) -> Before:
        return cls(Path(file), midi.read(file), infill)

    def in_recipe(self) -> dict[str, Any]:
        """What a file that was made from it says."""
        said = {"file": self.file.name, "hash": file_hash(self.file), "at": str(self.file.resolve())}
        return {"continues": said} if self.infill is None else {"infills": {**self.infill.to_dict(), **said}}


def compose(
    requests: Sequence[ScoreRequest | ScorePiece],
    model: str | Path = STARTER,
    out: str | Path | None = None,
    *,
    rendering: Rendering | None = None,
    picture: bool = True,
    going_on: str | Path | None = None,
    infill: Infill | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Composed]:
    """Composes each request and yields it when its files are there.

    `out` is a folder (default: this one), or the name of a MIDI file for one request; the others lie beside it. No file is overwritten: a taken
    name gets a number. `going_on` is a MIDI file that each goes on from, or of which with `infill` a part is made anew. Whatever is wrong raises ValueError or OSError
    before anything is composed.
    """
    if not requests:
        raise ValueError('nothing to compose: say what to play, for example "slow piano, melancholic"')
    folder, name, _ = split_out(out, len(requests), None, "mid", ("mid", "midi"))
    midi.symusic()
    before = Before.read(going_on, infill) if going_on is not None else None
    for request in requests:
        if before is None and isinstance(request, ScoreRequest) and not (request.prompt or request.said() or request.instruments):
            raise ValueError(EMPTY_PROMPT)
        seconds = _planned_seconds(request, before)
        if rendering is not None:
            check_sound(rendering, seconds)
    font = font_of(rendering)
    check_composer(model)
    if rendering is not None and rendering.cascade is not None:
        from mousai.pipelines.cascade import check_model

        check_model(rendering.cascade.model)
    with ready(folder):
        varying = Varying(rendering.cascade) if rendering and rendering.cascade else None
        composer = load(model)
        if infill is not None:
            check_infills(composer)
        for request in requests:
            began = time.perf_counter()
            score = composed(composer, request, before, progress)
            yield _written(score, request, before, folder, name, rendering, font, varying, picture, time.perf_counter() - began)


def chords_said(text: str | None) -> str | None:
    """Chord symbols, one a bar; where a MIDI file is named those of its bars, of which one without a clear chord keeps that before it, or the first."""
    if text is None or not text.lower().strip().endswith(midi.SUFFIXES):
        return text
    score = midi.read(text.strip())
    chords = chords_of(score, [(start, start + length) for start, length in score.bars()])
    clear = [chord_symbol(int(chord)) for chord in chords if chord != NO_CHORD]
    if not clear:
        raise ValueError(f"chords: no bar of {text.strip()} has a clear chord")
    symbols = clear[:1]
    for chord in chords:
        symbols.append(symbols[-1] if chord == NO_CHORD else chord_symbol(int(chord)))
    return " ".join(symbols[1:])


def _planned_seconds(request: ScoreRequest | ScorePiece, before: Before | None) -> float:
    """How long the score of a request will last, to a bar; ValueError for what cannot be composed."""
    if isinstance(request, ScorePiece):
        plans, begun = plans_of(request), 0
        seconds = 0.0
        for plan in plans:
            seconds, begun = seconds + (plan.bars - begun) * plan.bar_length / GRID * 60 / plan.quarters, plan.bars
        return seconds
    if before is None:
        plan = plan_of(request)
        return plan.bars * plan.bar_length / GRID * 60 / plan.quarters
    if before.infill is not None:
        wishes_of(request)
        region_of(before.score, before.infill)
        return before.score.seconds
    plan, material = plan_going_on(request, before.score)
    return before.score.seconds + (plan.bars - len(material.bars)) * plan.bar_length / GRID * 60 / plan.quarters


def composed(composer: Symbolic, request: ScoreRequest | ScorePiece, before: Before | None, progress: Callable[[int, int], None] | None = None) -> Score:
    """The score of a request, with the file that it was made from in its recipe."""
    if before is None:
        return composer.compose(request, progress=progress)
    if before.infill is not None:
        score = composer.infill(before.score, before.infill.bars, before.infill.tracks, request, progress=progress)
    else:
        score = composer.compose(request, going_on=before.score, progress=progress)
    return replace(score, recipe={**score.recipe, **before.in_recipe()})


def _written(
    score: Score, request: ScoreRequest | ScorePiece, before: Before | None, folder: Path, name: str | None, rendering: Rendering | None, font: Any, varying: Varying | None, picture: bool, took: float
) -> Composed:
    beside = (*((".png",) if picture else ()), *((f".{rendering.format}",) if rendering else ()), *((STEMS,) if rendering and rendering.stems else ()))
    beside += (f"{VARIED}.{rendering.format}",) if varying else ()
    called = request.name if isinstance(request, ScorePiece) else f"{slug(request.prompt or 'score')}-{request.seed}"
    while True:
        path = free(folder, name or called, "mid", beside)
        try:
            midi.write(path, score, new=True)
            break
        except FileExistsError:
            continue
    drawn = None
    if picture:
        from mousai.pictures.piano_roll import piano_roll_png

        title = ", ".join(filter(None, (request.prompt[:90], made_of(score), f"seed {request.seed}")))
        drawn = taken(folder, path.stem, "png", lambda place: piano_roll_png(score, place, title, new=True))
    beside_began = time.perf_counter()
    sounding = replace(score, parts=tuple(part for part in score.parts if len(part.notes)))  # those that who reads the file finds, by their numbers
    audio, stems = render(sounding, path, rendering, font, request.seed) if rendering else (None, ())
    varied = varying.vary(audio, score, (request.words if isinstance(request, ScorePiece) else request.prompt) or "music", request.seed, rendering.format) if varying else None
    words, sections = Words({}, ()), ()
    if isinstance(request, ScorePiece):
        sections = tuple((name, heard_in(section, kept_by(section) if number else ())) for number, (name, section) in enumerate(zip(request.names, request.sections, strict=True)))
    else:
        words = heard_in(request, KEPT if "continues" in score.recipe or "infills" in score.recipe else ())
    new, tracks = new_seconds(score, before), tuple((part.name, part.instrument) for part in sounding.parts)
    return Composed(path, drawn, audio, varied, stems, len(score.bars()), score.num_notes, score.seconds, took, time.perf_counter() - beside_began, new, tracks, words, told_of(score), sections)


def new_seconds(score: Score, before: Before | None) -> float:
    """How many seconds of a score were composed: all, those after the file that it goes on from, or those of the bars that were made anew."""
    if before is None:
        return score.seconds
    if before.infill is not None:
        region = region_of(before.score, before.infill)
        first, last = before.score.seconds_at(np.array([region.start, min(region.end, before.score.end)]))
        return float(last - first)
    return max(0.0, score.seconds - before.score.seconds)


def made_of(score: Score) -> str:
    """What was made anew of a file, or gone on from, in a few words."""
    recipe = score.recipe or {}
    before = recipe.get("infills") or recipe.get("continues")
    if before is None:
        return ""
    if "infills" not in recipe:
        return f"after {before['file']}"
    what = [f"bars {before['bars'][0]} to {before['bars'][1]}"] if before["bars"] else []
    what += [f"tracks {', '.join(before['tracks'])}"] if before["tracks"] else []
    return f"{before['file']} with {', '.join(what)} made anew"


def heard_in(request: ScoreRequest, kept: Sequence[str] = ()) -> Words:
    """What a request's words and options say, of which those in `kept` cannot be asked for."""
    instruments = dict(sorted(named_in(request).items(), key=lambda each: place_of(each[0], request.wanted_words)))
    words = words_of(request.known_words, instruments, request.style)
    if not request.instruments and (no := not_wanted_in(request) if "without" in kept else left_out(request)):
        words = words.without(no)
    if request.reading > 1:
        words = words.in_words_said(in_known_words(request.prompt)[1])
    elif words.heard.get("style") in STYLES and not request.instruments:  # whose own players play
        kept = (*kept, "instruments")
    options = {name: value for name in ("instruments", "density", *MUSIC_CHECKS) if (value := getattr(request, name)) not in (None, ())}
    return words.alone(*(name for name in words.heard if name not in kept)).with_options(options)


def place_of(words: str, text: str) -> int:
    """Where a text has these words, as whole ones."""
    found = re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE)
    return found.start() if found else len(text)


def kept_by(section: ScoreRequest) -> tuple[str, ...]:
    """What a section after the first cannot ask for: who plays, and a tempo that its words but imply."""
    return ("instruments", "without", *(() if section.says_pace else ("tempo",)))


def in_words(made: Composed) -> str:
    """Lines on a score: which words became what, how long it is, how fast it came."""
    lines = [f"{name}: {heard_line(words)}" for name, words in made.sections] or [heard_line(made.words)] * bool(made.words.heard or made.words.unheard)
    sound = f", rendered in {made.rendered_in:.1f} s: {real_time(made.seconds / max(made.rendered_in, 1e-9))}" if made.audio else ""
    new = f", {made.new_seconds:.1f} s of it new" if made.new_seconds < made.seconds else ""
    length = f"{made.bars} bars, {made.notes} notes, {made.seconds:.1f} s{new} in {made.took:.1f} s: {real_time(made.new_seconds / max(made.took, 1e-9))}{sound}"
    known = programs()  # of which a part's own name may be one
    tracks = (name if instrument == name or (name in known and NAMES[known[name]] == instrument) else f"{name} ({instrument})" for name, instrument in made.tracks)
    lines.append(f"tracks: {', '.join(f'{number} {track}' for number, track in enumerate(tracks, 1))}")
    return "\n".join([*lines, f"{f'in {played}: ' if (played := in_few_words(made.told)) else ''}{length}"])


def heard_line(words: Words) -> str:
    """What was heard, and what was not."""
    heard = ", ".join(f"{name} {', '.join(value) if isinstance(value, (list, tuple)) else f'{value:g}' if isinstance(value, float) else value}" for name, value in words.heard.items())
    return f"heard: {heard or 'nothing'}" + (f"; not heard: {', '.join(words.unheard)}" if words.unheard else "")
