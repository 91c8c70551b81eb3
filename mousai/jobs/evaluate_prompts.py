"""`mousai evaluate prompts`: whether the music that a model makes has a beat, a key and a style, and whether they are those of the words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mousai import config
from mousai.audio import io
from mousai.audio.level import at_level
from mousai.data.sources import Source, open_source
from mousai.evaluation.clips import draw_clips
from mousai.evaluation.features import SAMPLE_RATE
from mousai.evaluation.genre import GenreClassifier, load_classifier
from mousai.evaluation.heard import by_label
from mousai.evaluation.listen import listening_page
from mousai.evaluation.metrics import confusion_table, table_accuracy
from mousai.evaluation.nearest import LEAST_SECONDS, training_set
from mousai.evaluation.phases import Phase, counted, silent
from mousai.evaluation.prompts import (
    Asked, Known, manifest_of, music_of, of_styles, practice_classifier, prompts_for, recordings as beginnings, seed_distances,
)  # fmt: skip
from mousai.evaluation.prompts_report import CODEC, MADE, PRACTICE, REAL, text_of
from mousai.evaluation.rows import Row, listened, nearests, two_samples
from mousai.evaluation.shares import wilson
from mousai.jobs.evaluate import folder_for, provenance, round_trip, write
from mousai.pictures.confusion import confusion_png
from mousai.pipelines.cascade import Cascade, check_model, load
from mousai.pipelines.muse import AUTO, flow_for, told_vectors
from mousai.request.clip import Request
from mousai.request.music import Music, in_words
from mousai.types import Callback


def evaluate_prompts(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    split: str | None = "valid",
    classifier: str | Path | None = None,
    per_class: int = 6,
    seeds_per_prompt: int = 2,
    styles: Sequence[str] = (),
    tempos: bool = False,
    keys: bool = False,
    seconds: float = 8.0,
    batch: int | None = None,
    through_codec: bool = False,
    beside: Sequence[str | Path] = (),
    recordings: str | Path | None = None,
    flow: str | Path = AUTO,
    wordless: bool = False,
    listen: int = 0,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    compile: bool = False,
    phase: Phase = silent,
    **sampling: Any,
) -> dict[str, Any]:
    """What is heard of clips made from captions of a practice set, beside what was asked for and beside other sets of clips.

    `data` is the practice set, as a folder or manifest; prompts are captions of its `split`, or with `tempos` and `keys`
    made of tempos and keys that are none of theirs. Beside the clips stand as many of the set itself, with
    `through_codec` these after encoding and decoding, those that the models `beside` make of the same prompts at their
    own settings, and crops of `recordings`. A model that is told vectors is told what `flow` draws from the prompts, with `wordless` no
    text beside them, see `muse.flow_for`; those `beside` what the shipped one draws. `styles` are those that are asked for and named, all unless given. Without `classifier`, a file that `evaluation.genre` saved, the judge of styles
    is trained on the set's train split and kept beside it. `sampling` are fields of `SamplingSettings` and `Music`. Writes
    prompts.json, prompts.md, prompts.png (the confusion of styles), the clips, and for `listen` of the prompts a page to
    listen to blind.
    """
    manifest = manifest_of(data)
    source = open_source(manifest, split)
    if styles:
        source = of_styles(source, styles)
    asked = prompts_for(source, per_class, seeds_per_prompt, tempos, keys, seed)
    request = Request([clip.prompt for clip in asked], seconds, seed, batch, wordless=wordless, **sampling)
    real = None if recordings is None else open_source(recordings)
    for other in beside:
        check_model(other)
    cascade = heard_at_its_rate(load(model, device, dtype, compile=compile))
    drawing = flow_for(cascade, flow)
    request = told_vectors(request, drawing)
    settings, _ = cascade.settings(request)
    ear, classifier = practice_classifier(manifest, phase=phase) if classifier is None else (load_classifier(classifier), classifier)
    if styles:
        ear = ear.among(styles)
    out = folder_for(out)
    sets = {MADE: list(_generated(cascade, request, asked, out / "clips", phase("making clips: steps")))}
    for other in beside:
        system = heard_at_its_rate(load(other, device, dtype, compile=compile))
        folder = out / f"clips-{system.name}-{system.fingerprint[:6]}"
        plain = told_vectors(Request(request.prompts, seconds, seed, batch), flow_for(system))
        sets[str(other)] = list(_generated(system, plain, asked, folder, phase(f"making clips, {other}: steps")))
    sets[PRACTICE] = beginnings(source, per_class, seconds)
    if through_codec:
        sets[CODEC] = _after_codec(cascade, sets[PRACTICE], settings.codec_steps, phase("the practice set through the codec: steps"))
    if real is not None:
        sets[REAL] = _crops(real, seconds, len(asked), seed)
    rows = {name: listened(counted(clips, phase(f"listening, {name}: clips")), ear) for name, clips in sets.items()}
    if listen:
        chosen = _side_by_side(cascade, source, asked, sets, listen, settings.codec_steps, phase("clips to listen to: prompts"))
        listening_page(folder_for(out / "listen"), f"{cascade.name} {cascade.fingerprint} {seed}", chosen, SAMPLE_RATE, seed)
    report = {
        "evaluates": "prompts",
        **provenance(model, data, split, seed, cascade.codec, settings.codec_steps),
        "seconds": seconds,
        "styles": list(styles) or None,
        "tempos_drawn": tempos,
        "keys_drawn": keys,
        "flow": drawing and f"{drawing.name} {drawing.fingerprint}",
        "wordless": wordless,
        "generator_steps": settings.steps,
        **{name: value for name, value in config.to_dict(settings).items() if name not in ("steps", "codec_steps", "resamples")},
        "rows": {name: row.to_dict() for name, row in rows.items()},
        **_compared(rows, ear, manifest, seconds, phase),
        **_styles(rows, asked, ear, out / "prompts.png"),
        "classifier": str(classifier),
        "distances_db": seed_distances(asked, [clip.audio for clip in sets[MADE]]),
        "clips": [{"label": clip.label, "named": name, "prompt": clip.prompt, "seed": request.seed_of(i)} for i, (clip, name) in enumerate(zip(asked, rows[MADE].named))],
    }  # fmt: skip
    return write(out, report, text_of(report, rows))


def _compared(rows: Mapping[str, Row], ear: GenreClassifier, manifest: Path, seconds: float, phase: Phase) -> dict[str, Any]:
    """Whether the sets differ and whether they are copied, where there is the practice set after the codec to compare with."""
    of_the_set = {name: row for name, row in rows.items() if name != REAL}
    if CODEC not in rows:
        return {"two_samples": None, "nearest": None}
    near = nearests(of_the_set, CODEC, training_set(manifest, phase), phase) if seconds >= LEAST_SECONDS else None
    apart = {name: row for name, row in of_the_set.items() if name != PRACTICE}  # the same pieces as the reference's: no second sample
    return {"two_samples": two_samples(apart, CODEC, ear), "nearest": near}


def _styles(rows: Mapping[str, Row], asked: Sequence[Asked], ear: GenreClassifier, picture: Path) -> dict[str, Any]:
    """How many styles the judge names, the confusion of them also drawn, and what is heard of each."""
    made, labels = rows[MADE], [clip.label for clip in asked]
    table = confusion_table(labels, made.named, ear.config.labels)
    confusion_png(table, ear.config.labels, picture, "prompted styles named by the classifier")
    return {
        "by_style": by_label(made.heard, labels),
        "accuracy": table_accuracy(table),
        "interval_95": wilson(made.right, made.labelled),
        "chance": 1 / len(set(labels)),
        "labels": list(ear.config.labels),
        "confusion": table.tolist(),
        "recordings": _named(rows[PRACTICE]),
        "recordings_through_codec": _named(rows[CODEC]) if CODEC in rows else None,
    }


def heard_at_its_rate(cascade: Cascade) -> Cascade:
    """The cascade, if it makes what can be listened to; ValueError otherwise."""
    if cascade.sample_rate != SAMPLE_RATE:
        raise ValueError(f"the classifier hears {SAMPLE_RATE} Hz, this model makes {cascade.sample_rate} Hz")
    return cascade


def _named(row: Row) -> dict[str, float | int]:
    """Of how many clips the judge names the style."""
    return {"clips": row.labelled, "accuracy": row.right / row.labelled}


def _generated(cascade: Cascade, request: Request, asked: Sequence[Asked], folder: Path, progress: Callback) -> Iterator[Known]:
    """The clips of a request with what was asked of them, also written to `folder` as soon as each is there.

    Asked are tempo and key as the model settles them; of one that is not told them, as the words say them.
    """
    folder.mkdir(exist_ok=True)
    index = 0
    for batch in cascade.clips(request, progress):
        for audio in batch:
            recipe = cascade.recipe_of(request, index, audio.shape[-1] / cascade.sample_rate)
            io.write(folder / f"{index:03d}-{asked[index].label}.ogg", audio, cascade.sample_rate, metadata=recipe)
            music = cascade.music(request, index, Music()) if cascade.hears_music else in_words(asked[index].prompt)
            yield Known(asked[index].label, audio, music)
            index += 1


def _after_codec(cascade: Cascade, clips: Sequence[Known], steps: int | None, progress: Callback) -> list[Known]:
    """Recordings after encoding and decoding."""
    sounds = [at_level(clip.audio, cascade.rms) for clip in clips]
    decoded, _ = round_trip(cascade.codec, sounds, steps, 1, 0, progress)
    return [replace(clip, audio=audio) for clip, audio in zip(clips, decoded)]


def _crops(source: Source, seconds: float, count: int, seed: int) -> list[Known]:
    """Crops of recordings, and what their metadata say of them."""
    tracks = {track.key: track for track in source}
    return [Known(None, crop.audio, music_of(tracks[crop.key])) for crop in draw_clips(source, seconds, count, SAMPLE_RATE, 2, seed)]


def _side_by_side(
    cascade: Cascade, source: Source, asked: Sequence[Asked], sets: dict[str, list[Known]], count: int, steps: int | None, progress: Callback
) -> list[tuple[str, dict[str, Tensor]]]:
    """For `count` of the prompts what each model makes of them, the track that the words are from, that after the codec, and a recording."""
    firsts = list({clip.prompt: index for index, clip in reversed(list(enumerate(asked)))}.values())[::-1]
    spread = [firsts[i * len(firsts) // count] for i in range(min(count, len(firsts)))]
    tracks = {track.key: track for track in source}
    rows = []
    for number, index in enumerate(counted(spread, progress)):
        clips = {name: known[index].audio for name, known in sets.items() if name not in (PRACTICE, CODEC, REAL)}
        num_samples = clips[MADE].shape[-1]
        own = Known(None, source.read(tracks[asked[index].track], 0.0, num_samples, SAMPLE_RATE, 2), Music())
        clips |= {PRACTICE: own.audio, CODEC: _after_codec(cascade, [own], steps, silent(""))[0].audio}
        if REAL in sets:
            clips[REAL] = sets[REAL][number % len(sets[REAL])].audio
        rows.append((asked[index].prompt, clips))
    return rows
