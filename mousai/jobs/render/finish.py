"""The last steps of a long piece: loudness in a second pass over its audio, chapters, the picture, and the job that makes it again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from mousai.audio import io
from mousai.audio.encode import FORMATS
from mousai.audio.growing import GrowingWav
from mousai.audio.loudness import MOST_MAKE_UP, NEAR_LU, TRIALS, Loudness, LoudnessMeter, gain_for, limited, measure
from mousai.files import write_json
from mousai.jobs.render.level import SectionMeters, as_it_comes, levelled, section_gains
from mousai.jobs.render.plan import Target
from mousai.pictures.overview import Overview
from mousai.pipelines.long_form import Rendering
from mousai.request.piece import Piece

TITLE_CHARACTERS = 60  # of a prompt, in a chapter's title
WIDE = ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")  # how recordings of more than 16 bits are kept
FACTS = ("model", "fingerprint", "mousai", "torch", "device", "dtype", "machine", "recording", "earlier")  # what the samples follow from beside the piece

Tell = Callable[[float, str], None]
Blocks = Callable[[], Iterator[Tensor]]  # the audio of a piece, from its beginning each time


def finish(target: Target, rendering: Rendering, wav: GrowingWav, made_from: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Writes the file, its picture and its job, in this order, each beside its place and renamed; returns what the job says.

    `tell` hears of every block, and whatever it raises leaves nothing half-written.
    """
    piece, recipe = rendering.piece, recipe_of(rendering, made_from)
    recorded = max(0, (made_from["recording"] or {}).get("num_samples", 0) - rendering.join)
    found, peaks, sections = heard(wav, piece, recorded, tell)
    gains_db = section_gains(sections, [section.seconds for section in piece.sections]) if piece.level_sections else []
    blocks = (lambda: levelled(wav.blocks(), piece, gains_db, wav.sample_rate)) if any(gains_db) else wav.blocks
    even = measure(heard_by(tell, blocks, "measuring loudness"), wav.sample_rate, wav.channels) if any(gains_db) else found
    gain = gain_to(piece.loudness, even, piece.true_peak, blocks, wav, tell)
    result, overview = LoudnessMeter(wav.sample_rate, wav.channels), picture_of(rendering, wav, recipe)

    def mastered() -> Iterator[Tensor]:
        untouched = piece.loudness is None and not any(gains_db)
        loud = limited(blocks(), wav.sample_rate, gain, piece.true_peak)
        for block in as_it_comes(wav, recorded, rendering.tail, peaks, piece.true_peak) if untouched else loud:
            tell(1.0, "writing the file")
            result.add(block)
            overview.add(block)
            yield block

    chapters = chapters_of(rendering, recipe)
    how = {"metadata": recipe, "chapters": chapters, "subtype": subtype_of(target.format, made_from)}
    io.write_blocks(target.file, mastered(), wav.num_samples, wav.sample_rate, wav.channels, **how)
    tell(1.0, "drawing the picture")
    overview.save(target.picture)
    loudness = {"target_lufs": piece.loudness, "gain": gain, "before": finite(found), "after": finite(result.loudness)}
    if any(gains_db):
        loudness["sections"] = [{"lufs": level if math.isfinite(level) else None, "gain_db": each} for level, each in zip(sections, gains_db)]
    made = job_of(target, wav, recipe | {"asked": made_from["asked"]}, chapters) | {"loudness": loudness}
    write_json(target.job, made)
    return made


def heard(wav: GrowingWav, piece: Piece, recorded: int, tell: Tell) -> tuple[Loudness, tuple[float, float], list[float]]:
    """The loudness of the audio, the largest of its first `recorded` samples and of those after them, and the loudness of each section where they are to be levelled."""
    peaks, place = [0.0, 0.0], 0
    sections = SectionMeters(piece, wav.sample_rate, wav.channels) if piece.level_sections else None

    def blocks() -> Iterator[Tensor]:
        nonlocal place
        for block in heard_by(tell, wav.blocks, "measuring loudness"):
            before = max(0, min(block.shape[-1], recorded - place))
            for number, part in enumerate((block[:, :before], block[:, before:])):
                peaks[number] = max(peaks[number], float(part.abs().max()) if part.numel() else 0.0)
            if sections is not None:
                sections.add(block)
            place += block.shape[-1]
            yield block

    found = measure(blocks(), wav.sample_rate, wav.channels)
    return found, (peaks[0], peaks[1]), [] if sections is None else sections.lufs


def job_of(target: Target, wav: GrowingWav, facts: dict[str, Any], chapters: Sequence[io.Chapter]) -> dict[str, Any]:
    """What the job file says beside the loudness."""
    return {
        **{name: facts[name] for name in ("asked", *FACTS, "piece", "boundaries")}, "file": target.file.name, "picture": target.picture.name,
        "sample_rate": wav.sample_rate, "num_samples": wav.num_samples, "seconds": wav.num_samples / wav.sample_rate,
        "chapters": [{"seconds": chapter.sample / wav.sample_rate, "title": chapter.title} for chapter in chapters],
    }  # fmt: skip


def gain_to(target_lufs: float | None, found: Loudness, ceiling_db: float, audio: Blocks, wav: GrowingWav, tell: Tell) -> float:
    """The linear gain that brings audio whose loudness was `found` to the target, with what the limiter takes of it made up for.

    The limiter is tried at each gain; more than `MOST_MAKE_UP` on top of what the target asks for is not given.
    """
    plain = gain = gain_for(found, target_lufs)
    if target_lufs is None or not math.isfinite(found.integrated_lufs) or found.true_peak_db + 20 * math.log10(gain) <= ceiling_db:
        return gain
    for _ in range(TRIALS):
        blocks = heard_by(tell, audio, "trying the limiter")
        off = target_lufs - measure(limited(blocks, wav.sample_rate, gain, ceiling_db), wav.sample_rate, wav.channels).integrated_lufs
        if abs(off) < NEAR_LU:
            break
        gain = min(gain * 10 ** (off / 20), plain * 10 ** (MOST_MAKE_UP / 20))
    return gain


def subtype_of(format: str, made_from: dict[str, Any]) -> str | None:
    """24 bits for a recording that has more than 16, where the format takes them; else None, the format's own."""
    wide = (made_from["recording"] or {}).get("subtype") in WIDE
    return "PCM_24" if wide and "PCM_24" in FORMATS[format][1] else None


def heard_by(tell: Tell, audio: Blocks, doing: str) -> Iterator[Tensor]:
    """The audio's blocks, each told of."""
    for block in audio():
        tell(1.0, doing)
        yield block


def finite(loudness: Loudness) -> dict[str, float | None]:
    """As JSON has it: None for what silence has not."""
    return {name: value if math.isfinite(value) else None for name, value in asdict(loudness).items()}


def recipe_of(rendering: Rendering, made_from: dict[str, Any]) -> dict[str, Any]:
    """What goes into the file itself: enough to make it again."""
    boundaries = rendering.boundaries()
    if boundaries["count"]:
        boundaries["first"] += offset(rendering, made_from)
    heard = {"heard": made_from["heard"]} if "heard" in made_from else {}
    return {"piece": rendering.piece.to_dict(), "boundaries": boundaries, **{name: made_from[name] for name in FACTS}, **heard}


def offset(rendering: Rendering, made_from: dict[str, Any]) -> float:
    """Seconds of a recording before what is new."""
    return (made_from["recording"] or {}).get("num_samples", 0) / rendering.system.sample_rate


def sections_of(rendering: Rendering, made_from: dict[str, Any]) -> list[tuple[float, str]]:
    """(start in seconds of the file, label) of every section, a recording first."""
    before = offset(rendering, made_from)
    found = [(0.0, made_from["recording"]["file"])] if before else []
    return found + [(before + start, section.prompt) for start, section in zip(rendering.piece.starts, rendering.piece.sections)]


def chapters_of(rendering: Rendering, made_from: dict[str, Any]) -> list[io.Chapter]:
    """A chapter for every section, where there are several."""
    sections = sections_of(rendering, made_from)
    rate = rendering.system.sample_rate
    return [io.Chapter(round(start * rate), label[:TITLE_CHARACTERS]) for start, label in sections] if len(sections) > 1 else []


def picture_of(rendering: Rendering, wav: GrowingWav, made_from: dict[str, Any]) -> Overview:
    """The picture to which the audio is still to be added."""
    title = rendering.piece.title or rendering.piece.sections[0].prompt
    return Overview(wav.sample_rate, wav.channels, wav.num_samples, sections_of(rendering, made_from), title)
