"""The last steps of a long piece: loudness in a second pass over its audio, chapters, the picture, and the job that makes it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from torch import Tensor

from mousai.audio import io
from mousai.audio.growing import GrowingWav
from mousai.audio.loudness import LoudnessMeter, gain_for, limited, measure
from mousai.evaluation.overview import Overview
from mousai.jobs.places import write_json
from mousai.jobs.render_plan import Target
from mousai.long_form import Rendering

TITLE_CHARACTERS = 60  # of a prompt, in a chapter's title
FACTS = ("model", "fingerprint", "mousai", "torch", "device", "dtype", "machine", "recording")  # what the samples follow from beside the piece

Tell = Callable[[float, str], None]


def finish(target: Target, rendering: Rendering, wav: GrowingWav, made_from: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Writes the file, its picture and its job, in this order, each beside its place and renamed; returns what the job says."""
    piece = rendering.piece
    tell(1.0, "measuring loudness")
    peak = 0.0

    def heard() -> Iterator[Tensor]:
        nonlocal peak
        for block in wav.blocks():
            peak = max(peak, float(block.abs().max()))
            yield block

    found = measure(heard(), wav.sample_rate, wav.channels)
    gain = gain_for(found, piece.loudness)
    as_it_comes = piece.loudness is None and peak <= 1  # then not a sample is touched, of a recording least of all
    recipe = recipe_of(rendering, made_from)
    result, overview = LoudnessMeter(wav.sample_rate, wav.channels), picture_of(rendering, wav, recipe)

    def mastered() -> Iterator[Tensor]:
        for block in wav.blocks() if as_it_comes else limited(wav.blocks(), wav.sample_rate, gain, piece.true_peak):
            result.add(block)
            overview.add(block)
            yield block

    tell(1.0, "writing the file")
    chapters = chapters_of(rendering, recipe)
    io.write_blocks(target.file, mastered(), wav.num_samples, wav.sample_rate, wav.channels, metadata=recipe, chapters=chapters)
    tell(1.0, "drawing the picture")
    overview.save(target.picture)
    loudness = {"target_lufs": piece.loudness, "gain": gain, "before": asdict(found), "after": asdict(result.loudness)}
    made = {
        **{name: made_from[name] for name in ("asked", *FACTS)}, "piece": piece.to_dict(), "file": target.file.name, "picture": target.picture.name,
        "sample_rate": wav.sample_rate, "num_samples": wav.num_samples, "seconds": wav.num_samples / wav.sample_rate,
        "chapters": [{"seconds": chapter.sample / wav.sample_rate, "title": chapter.title} for chapter in chapters],
        "boundaries": recipe["boundaries"], "loudness": loudness,
    }  # fmt: skip
    write_json(target.job, made)
    return made


def recipe_of(rendering: Rendering, made_from: dict[str, Any]) -> dict[str, Any]:
    """What goes into the file itself: enough to make it again."""
    boundaries = rendering.boundaries()
    if boundaries["count"]:
        boundaries["first"] += offset(rendering, made_from)
    return {"piece": rendering.piece.to_dict(), "boundaries": boundaries, **{name: made_from[name] for name in FACTS}}


def offset(rendering: Rendering, made_from: dict[str, Any]) -> float:
    """Seconds of a recording before what is new."""
    return (made_from["recording"] or {}).get("num_samples", 0) / rendering.cascade.sample_rate


def sections_of(rendering: Rendering, made_from: dict[str, Any]) -> list[tuple[float, str]]:
    """(start in seconds of the file, label) of every section, a recording first."""
    before = offset(rendering, made_from)
    found = [(0.0, made_from["recording"]["file"])] if before else []
    return found + [(before + start, section.prompt) for start, section in zip(rendering.piece.starts, rendering.piece.sections)]


def chapters_of(rendering: Rendering, made_from: dict[str, Any]) -> list[io.Chapter]:
    """A chapter for every section, where there are several."""
    sections = sections_of(rendering, made_from)
    rate = rendering.cascade.sample_rate
    return [io.Chapter(round(start * rate), label[:TITLE_CHARACTERS]) for start, label in sections] if len(sections) > 1 else []


def picture_of(rendering: Rendering, wav: GrowingWav, made_from: dict[str, Any]) -> Overview:
    """The picture to which the audio is still to be added."""
    title = rendering.piece.title or rendering.piece.sections[0].prompt
    return Overview(wav.sample_rate, wav.channels, wav.num_samples, sections_of(rendering, made_from), title)
