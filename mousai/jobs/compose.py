"""`mousai compose`: a score for each prompt as a MIDI file with its recipe inside, its piano roll beside it, and its sound where asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mousai.audio.write import FORMATS
from mousai.checks import check_number, short
from mousai.files import file_hash, read_bytes, writing_folder
from mousai.jobs.places import free, ready, split_out, taken
from mousai.jobs.replay import Replayed, model_of, no_recording, recording_at
from mousai.pipelines.symbolic import Symbolic, check_composer, check_infills, load
from mousai.request.piece import slug
from mousai.request.score import Infill, ScoreRequest, Words, words_of
from mousai.symbolic import midi
from mousai.symbolic.excerpt import region_of
from mousai.symbolic.phrases import GRID
from mousai.symbolic.plan import instruments_in, plan_going_on, plan_of, wishes_of
from mousai.symbolic.score import Score

STARTER = "starter-symbolic"
STEMS = "-stems"  # behind a score's name: the folder of its parts' sound


@dataclass(frozen=True)
class Composed:
    """One finished score and what lies beside it; `heard` says which words of the prompt became what, `unheard` which nothing."""

    path: Path
    picture: Path | None
    audio: Path | None
    stems: tuple[Path, ...]
    bars: int
    notes: int
    seconds: float  # that it lasts
    took: float  # seconds of composing
    rendered_in: float  # and of rendering
    words: Words

    def to_dict(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("bars", "notes", "seconds", "took", "rendered_in")}
        places = {"path": str(self.path), "picture": self.picture and str(self.picture), "audio": self.audio and str(self.audio), "stems": [str(stem) for stem in self.stems]}
        return {**places, **own, "heard": self.words.heard, "unheard": list(self.words.unheard)}


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


@dataclass(frozen=True)
class Rendering:
    """How scores are made to sound: the file format, who plays (a SoundFont's file, "auto", or None for the own instruments), stems, LUFS."""

    format: str
    soundfont: str | Path | None = None
    stems: bool = False
    loudness: float | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"render: expected one of {', '.join(FORMATS)}, came {short(self.format)}")
        check_number("loudness", self.loudness, -70, 0, unit=" LUFS")


def compose(
    requests: Sequence[ScoreRequest],
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
    from mousai.symbolic.sound import check_length

    midi.symusic()
    before = Before.read(going_on, infill) if going_on is not None else None
    for request in requests:
        seconds = _planned_seconds(request, before)
        if rendering is not None:
            check_length(seconds)
    font = _font(rendering)
    check_composer(model)
    with ready(folder):
        composer = load(model)
        if infill is not None:
            check_infills(composer)
        for request in requests:
            began = time.perf_counter()
            score = composed(composer, request, before, progress)
            yield _written(score, request, folder, name, rendering, font, picture, time.perf_counter() - began)


def _planned_seconds(request: ScoreRequest, before: Before | None) -> float:
    """How long the score of a request will last, to a bar; ValueError for what cannot be composed."""
    if before is None:
        plan = plan_of(request)
        return plan.bars * plan.bar_length / GRID * 60 / plan.quarters
    if before.infill is not None:
        wishes_of(request)
        region_of(before.score, before.infill)
        return before.score.seconds
    plan, material = plan_going_on(request, before.score)
    return before.score.seconds + (plan.bars - len(material.bars)) * plan.bar_length / GRID * 60 / plan.quarters


def composed(composer: Symbolic, request: ScoreRequest, before: Before | None, progress: Callable[[int, int], None] | None = None) -> Score:
    """The score of a request, with the file that it was made from in its recipe."""
    if before is None:
        return composer.compose(request, progress=progress)
    if before.infill is not None:
        score = composer.infill(before.score, before.infill.bars, before.infill.tracks, request, progress=progress)
    else:
        score = composer.compose(request, going_on=before.score, progress=progress)
    return replace(score, recipe={**score.recipe, **before.in_recipe()})


def _written(
    score: Score, request: ScoreRequest, folder: Path, name: str | None, rendering: Rendering | None, font: Any, picture: bool, took: float
) -> Composed:
    beside = (*((".png",) if picture else ()), *((f".{rendering.format}",) if rendering else ()), *((STEMS,) if rendering and rendering.stems else ()))
    while True:
        path = free(folder, name or f"{slug(request.prompt or 'score')}-{request.seed}", "mid", beside)
        try:
            midi.write(path, score, new=True)
            break
        except FileExistsError:
            continue
    drawn = None
    if picture:
        from mousai.pictures.piano_roll import piano_roll_png

        title = f"{request.prompt[:90]}, seed {request.seed}"
        drawn = taken(folder, path.stem, "png", lambda place: piano_roll_png(score, place, title, new=True))
    beside_began = time.perf_counter()
    audio, stems = render(score, path, rendering, font, request.seed) if rendering else (None, ())
    words = words_of(request.prompt, instruments_in(request.prompt))
    if "continues" in score.recipe or "infills" in score.recipe:  # which has its players, mode and tempo
        words = words.alone("style", "density")
    return Composed(path, drawn, audio, stems, len(score.bars()), score.num_notes, score.seconds, took, time.perf_counter() - beside_began, words)


def _font(rendering: Rendering | None) -> Any:
    if rendering is None or rendering.soundfont is None:
        return None
    from mousai.data.synth.soundfont import load as load_font, locate

    return load_font(str(locate(rendering.soundfont)))


def render(score: Score, path: Path, rendering: Rendering, font: Any, seed: int) -> tuple[Path, tuple[Path, ...]]:
    """Writes the sound of a score beside its file, `NAME.FORMAT`, and where asked for `NAME-stems/PART.FORMAT`."""
    import torch

    from mousai.audio import io
    from mousai.audio.loudness import brought_to
    from mousai.symbolic.sound import SAMPLE_RATE, play

    sound = play(score, font, stems=rendering.stems, seed=seed)
    audio = torch.from_numpy(sound.audio)
    if rendering.loudness is not None:
        audio = brought_to(audio, SAMPLE_RATE, rendering.loudness)
    place = path.with_suffix(f".{rendering.format}")
    place = io.write(
        place, audio, SAMPLE_RATE, dict(score.recipe or {}) | {"score": path.name}, otherwise=lambda: free(path.parent, path.stem, rendering.format)
    ).path
    return place, _stems(score, path, sound.stems, rendering.format) if sound.stems else ()


def _stems(score: Score, path: Path, sounds: Sequence[np.ndarray], format: str) -> tuple[Path, ...]:
    """Writes the sound of each part to a folder beside the score's file, which is there when all of it is."""
    import torch

    from mousai.audio import io
    from mousai.symbolic.sound import SAMPLE_RATE

    names = [f"{number}-{slug(part.name)}.{format}" for number, part in enumerate(score.parts, 1)]

    def write(folder: Path) -> None:
        with writing_folder(folder, new=True) as new:
            for name, sound in zip(names, sounds, strict=True):
                io.write(new / name, torch.from_numpy(sound), SAMPLE_RATE)

    folder = taken(path.parent, f"{path.stem}{STEMS}", None, write)
    return tuple(folder / name for name in names)


def in_words(made: Composed) -> str:
    """A line on a score: which words became what, how long it is, how fast it came."""
    heard = ", ".join(f"{name} {', '.join(value) if isinstance(value, list) else f'{value:g}' if isinstance(value, float) else value}" for name, value in made.words.heard.items())
    unheard = f"; not heard: {', '.join(made.words.unheard)}" if made.words.unheard else ""
    sound = f", rendered in {made.rendered_in:.1f} s" if made.audio else ""
    speed = made.seconds / max(made.took + made.rendered_in, 1e-9)
    return f"heard: {heard or 'nothing'}{unheard}\n{made.bars} bars, {made.notes} notes, {made.seconds:.1f} s in {made.took:.1f} s{sound}: {speed:.3g}x real time"


def replay(file: str | Path, model: str | Path | None = None, out: str | Path | None = None, going_on: str | Path | None = None) -> Replayed:
    """Composes a MIDI file of ours again, beside it or at `out`, and compares the two to the byte; ValueError for one without a recipe.

    `going_on` is what the file went on from; unless given, it is looked for beside the file and where it was.
    """
    file = Path(file)
    recipe = midi.recipe_in(read_bytes(file, midi.MOST_BYTES))
    if not isinstance(recipe, dict) or not isinstance(recipe.get("compose"), dict) or not all(isinstance(recipe.get(name), str) for name in ("model", "fingerprint")):
        raise ValueError(f"{file}: has no recipe in it; only what mousai composed can be replayed")
    try:
        request = ScoreRequest(**recipe["compose"])
    except TypeError as error:
        raise ValueError(f"{file}: the recipe in it is none that this version of mousai reads ({error})") from None
    said = recipe.get("continues") or recipe.get("infills")
    if said is not None and not (isinstance(said, dict) and all(isinstance(said.get(name), str) for name in ("file", "hash", "at"))):
        raise ValueError(f"{file}: the recipe in it does not say by file, hash and at what it goes on from")
    before = None
    if said is None:
        no_recording(file, going_on)
    else:
        infill = infill_in(file, said) if "infills" in recipe else None
        before = Before.read(recording_at(file, said["file"], said["hash"], going_on, said.get("at")), infill)
    composer = load(model or model_of(file, recipe))
    differs = tuple(f"another {name}: {recipe[name]}, here it is {value}" for name, value in composer.facts.items() if recipe.get(name, value) != value)
    folder, name, _ = split_out(out if out is not None else file.parent, 1, None, "mid", ("mid", "midi"))
    with ready(folder):
        path = free(folder, name or f"{file.stem}-replay", "mid")
        again = composed(composer, request, before)
        if before:  # the file says where it was then
            again = replace(again, recipe={**again.recipe, **{name: recipe[name] for name in ("continues", "infills") if name in recipe}})
        midi.write(path, again, new=True)
    one, other = midi.read(file), midi.read(path)
    same = read_bytes(file, midi.MOST_BYTES) == read_bytes(path, midi.MOST_BYTES) if not differs else one == other
    return Replayed(file, path, differs, same, None if same else _first_difference(one, other))


def infill_in(file: Path, said: dict[str, Any]) -> Infill:
    """The region that a recipe names."""
    bars = said.get("bars")
    try:
        return Infill(tuple(bars) if bars else None, tuple(said.get("tracks", ())))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: the recipe in it does not say what was made anew ({error})") from None


def _first_difference(one: Score, other: Score) -> float:
    """The second at which two scores begin to differ."""
    rows = [{(number, *note) for number, part in enumerate(score.parts) for note in part.notes.tolist()} for score in (one, other)]
    ticks = [note[1] for note in rows[0] ^ rows[1]]
    return float(one.seconds_at(np.array([min(ticks, default=0)]))[0])
