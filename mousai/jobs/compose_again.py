"""Scores of ours composed again, from the recipe that their file carries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mousai.files import read_bytes
from mousai.jobs.compose import Before, composed
from mousai.jobs.places import free, ready, split_out
from mousai.jobs.replay import Replayed, model_of, no_recording, recording_at
from mousai.pipelines.symbolic import load
from mousai.request.score import Infill, ScoreRequest
from mousai.request.score_piece import ScorePiece
from mousai.symbolic import midi
from mousai.symbolic.score import Score


AS_BEFORE = {"candidates": 1, "reading": 1}  # of recipes that do not say it


def replay(file: str | Path, model: str | Path | None = None, out: str | Path | None = None, going_on: str | Path | None = None) -> Replayed:
    """Composes a MIDI file of ours again, beside it or at `out`, and compares the two to the byte; ValueError for one without a recipe.

    `going_on` is what the file went on from; unless given, it is looked for beside the file and where it was.
    """
    file = Path(file)
    recipe = midi.recipe_in(read_bytes(file, midi.MOST_BYTES))
    if not isinstance(recipe, dict) or not isinstance(recipe.get("compose"), dict) or not all(isinstance(recipe.get(name), str) for name in ("model", "fingerprint")):
        raise ValueError(f"{file}: has no recipe in it; only what mousai composed can be replayed")
    try:
        said = AS_BEFORE | recipe["compose"]
        kept = {name: value for name, value in said.items() if "infills" not in recipe or name not in ("temperature", "spread")}  # which did nothing there
        request = ScorePiece.from_dict(said) if "sections" in said else ScoreRequest(**kept)
    except (TypeError, ValueError) as error:
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
        again = composed(composer, request, before)  # whose file says what it was asked then, and where that which it was made from was
        again = replace(again, recipe={**again.recipe, **{name: recipe[name] for name in ("compose", "continues", "infills") if name in recipe}})
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
