"""`mousai evaluate`: how well a codec brings music back, whether its joins can be found, whether prompts are obeyed.

Each function writes its figures as JSON, a table as Markdown and a picture where there is something to see into a
folder, and returns the figures. docs/evaluation.md has the methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mousai import checkpoint, config
from mousai.audio import io
from mousai.audio.level import at_level, level_gain, rms_of
from mousai.checks import check_number
from mousai.data.sources import open_source
from mousai.device import device_of
from mousai.evaluation.clips import draw_clips
from mousai.evaluation.codec import baselines, measure, summary, table
from mousai.evaluation.codec_joins import JoinJudge
from mousai.evaluation.features import SAMPLE_RATE
from mousai.evaluation.genre import load_classifier
from mousai.evaluation.metrics import confusion_table, table_accuracy
from mousai.evaluation.prompts import manifest_of, practice_classifier, prompts_for, recognised, recordings, seed_distances, text_of, wilson
from mousai.files import write_json, write_text
from mousai.pictures.confusion import confusion_png
from mousai.pictures.sheet import spectrogram_sheet
from mousai.pipelines.cascade import Cascade, load, load_codec
from mousai.request.clip import MAX_BATCH, Request
from mousai.types import MAX_STEPS

Progress = Callable[[int, int], None]
SHEET_CLIPS = 6
OURS = "decode(encode(x))"


def evaluate_codec(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    split: str | None = "valid",
    seconds: float = 5.0,
    clips: int | None = None,
    steps: int | None = None,
    batch: int = 4,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """How near decode(encode(x)) comes to x for one crop of each track (or `clips` of them), beside baselines.

    Crops are brought to the level that the codec was trained at, if it was at one. Writes codec.json, codec.md and
    codec.png, a sheet of spectrograms from the nearest clip to the farthest.
    """
    check_number("batch", batch, 1, MAX_BATCH, whole=True)
    check_number("steps", steps, 1, MAX_STEPS, whole=True)
    codec, rms = load_codec(model, device, dtype)
    source = open_source(data, split)
    chosen = draw_clips(source, seconds, clips, codec.sample_rate, codec.channels, seed)
    out = folder_for(out)
    references = [at_level(clip.audio, rms) for clip in chosen]
    decoded = _round_trip(codec, references, steps, batch, seed, progress)
    candidates = {OURS: decoded, **baselines(references, codec.sample_rate, codec.hop, codec.latent_channels, seed)}
    rows = {name: summary(measure(sounds, references, codec.sample_rate)) for name, sounds in candidates.items()}
    report = {
        "evaluates": "codec",
        **_provenance(model, data, split, seed, codec, steps),
        "seconds": seconds,
        "values_a_second": codec.latent_channels * codec.sample_rate / codec.hop,
        "clips": [clip.to_dict() for clip in chosen],
        "share_of": {name: rows[OURS]["log_mel_db"]["mean"] / row["log_mel_db"]["mean"] for name, row in rows.items() if name != OURS},
        "rows": rows,
    }
    _draw_sheet(out / "codec.png", report, references, decoded, codec.sample_rate)
    shares = "\n".join(f"- {share:.2f} × {name}" for name, share in report["share_of"].items())
    intro = f"{len(chosen)} clips of {seconds:g} s; {report['values_a_second']:.0f} latent values a second; mean ± standard deviation over clips."
    return _write(out, report, f"{intro}\n\n{table(rows)}\n\nThe log-mel distance of {OURS} is\n{shares}\n")


def _round_trip(codec: nn.Module, references: Sequence[Tensor], steps: int | None, batch: int, seed: int, progress: Progress | None) -> list[Tensor]:
    """decode(encode(x)) of clips `(c, s)` of one shape, `batch` at a time; clip i is drawn from seed + i."""
    decoded: list[Tensor] = []
    groups = [references[i : i + batch] for i in range(0, len(references), batch)]
    for number, group in enumerate(groups):
        audio = torch.stack(list(group)).to(_device(codec))
        seeds = [seed + len(decoded) + i for i in range(len(group))]
        callback = _part(progress, number, len(groups))
        decoded += codec.decode(codec.encode(audio), audio.shape[-1], seeds=seeds, steps=steps, callback=callback).float().cpu()
    return decoded


def _draw_sheet(path: Path, report: dict[str, Any], references: list[Tensor], decoded: list[Tensor], sample_rate: int) -> None:
    """Clips from the nearest to the farthest, each pair scaled by what brings its original to rms 0.1."""
    distances = torch.tensor(report["rows"][OURS]["log_mel_db"]["clips"])
    order = distances.argsort()
    shown = order[torch.linspace(0, len(order) - 1, min(SHEET_CLIPS, len(order))).round().long()].tolist()
    pairs = []
    for i in shown:
        scale = level_gain(rms_of(references[i]), 0.1)
        name = f"{Path(report['clips'][i]['key']).stem}, {distances[i]:.1f} dB"
        pairs.append((name, references[i] * scale, decoded[i] * scale))
    spectrogram_sheet(pairs, sample_rate, path, f"{OURS}, from the nearest clip to the farthest")


def evaluate_joins(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    split: str | None = "valid",
    seconds: float = 60.0,
    pieces: int = 8,
    steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Whether spectrum, level and latents change more at the joins of the codec's windows than elsewhere in the same pieces.

    Writes joins.json and joins.md.
    """
    check_number("steps", steps, 1, MAX_STEPS, whole=True)
    codec, rms = load_codec(model, device, dtype)
    source = open_source(data, split)
    judge = JoinJudge(codec.stride_frames, codec.context_frames, codec.hop, codec.sample_rate)
    least = 2 * judge.stride_seconds
    if seconds < least:
        raise ValueError(f"seconds: expected at least {least:.1f}, two of this codec's windows, came {seconds:g}")
    chosen = draw_clips(source, seconds, min(pieces, len(source)), codec.sample_rate, codec.channels, seed, least)
    out = folder_for(out)
    for number, clip in enumerate(chosen):
        audio = at_level(clip.audio, rms)
        judge.add(audio, *_long_round_trip(codec, audio, steps, seed + number, _part(progress, number, len(chosen))))
    verdict = judge.verdict(seed)
    report = {
        "evaluates": "joins",
        **_provenance(model, data, split, seed, codec, steps),
        "pieces": [{**clip.to_dict(), "seconds": clip.audio.shape[-1] / codec.sample_rate} for clip in chosen],
        "stride_seconds": judge.stride_seconds,
        "fade_seconds": judge.fade_seconds,
        **verdict.to_dict(),
    }
    intro = f"{len(chosen)} pieces; a join every {judge.stride_seconds:.2f} s, faded over {judge.fade_seconds:.2f} s."
    return _write(out, report, f"{intro} {verdict.table()}\n")


def _long_round_trip(codec: nn.Module, audio: Tensor, steps: int | None, seed: int, callback: Progress | None) -> tuple[Tensor, Tensor, Tensor]:
    """The decoded audio of a piece `(c, s)`, its latents from windows and those of the whole in one window."""
    batch = audio[None].to(_device(codec))
    windowed, whole = codec.encode(batch), codec.encode(batch, whole=True)
    decoded = codec.decode(windowed, audio.shape[-1], seeds=[seed], steps=steps, callback=callback)
    return decoded[0].float().cpu(), windowed[0].float().cpu(), whole[0].float().cpu()


def evaluate_prompts(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    split: str | None = "valid",
    classifier: str | Path | None = None,
    per_class: int = 6,
    seeds_per_prompt: int = 2,
    seconds: float = 8.0,
    batch: int | None = None,
    through_codec: bool = False,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    compile: bool = False,
    progress: Progress | None = None,
    **sampling: Any,
) -> dict[str, Any]:
    """Whether a classifier of a practice set's styles names the prompted one for generated clips, and whether seeds differ.

    `data` is the practice set, as a folder or manifest; prompts are captions of its `split`. Without `classifier`, a
    file that `evaluation.genre` saved, one is trained on the set's train split and kept beside it. `through_codec`
    also classifies as many recordings of the set after encoding and decoding: what the codec alone costs. `sampling` are
    fields of `SamplingSettings`. Writes
    prompts.json, prompts.md, prompts.png (the confusion table) and the clips.
    """
    manifest = manifest_of(data)
    source = open_source(manifest, split)
    asked = prompts_for(source, per_class, seeds_per_prompt)
    prompts = [clip.prompt for clip in asked]
    request = Request(prompts, seconds, seed, batch, **sampling)
    cascade = load(model, device, dtype, compile=compile)
    if cascade.sample_rate != SAMPLE_RATE:
        raise ValueError(f"the classifier hears {SAMPLE_RATE} Hz, this model makes {cascade.sample_rate} Hz")
    if classifier is None:
        ear, classifier = practice_classifier(manifest)
    else:
        ear = load_classifier(classifier)
    out = folder_for(out)
    clips = _generate(cascade, request, [clip.label for clip in asked], out / "clips", progress)
    named = [ear.name(clip[None])[0] for clip in clips]
    heard = confusion_table([clip.label for clip in asked], named, ear.config.labels)
    confusion_png(heard, ear.config.labels, out / "prompts.png", "prompted styles named by the classifier")
    known = recordings(source, per_class, seconds)
    settings, _ = cascade.settings(request)
    report = {
        "evaluates": "prompts",
        **_provenance(model, data, split, seed, cascade.codec, settings.codec_steps),
        "seconds": seconds,
        "generator_steps": settings.steps,
        **{name: value for name, value in config.to_dict(settings).items() if name not in ("steps", "codec_steps", "resamples")},
        "accuracy": table_accuracy(heard),
        "interval_95": wilson(int(heard.diagonal().sum()), len(clips)),
        "chance": 1 / len({clip.label for clip in asked}),
        "labels": list(ear.config.labels),
        "confusion": heard.tolist(),
        "classifier": str(classifier),
        "recordings": recognised(ear, known),
        "recordings_through_codec": recognised(ear, _through_codec(cascade, known, settings.codec_steps)) if through_codec else None,
        "distances_db": seed_distances(asked, clips),
        "clips": [{"label": clip.label, "named": name, "prompt": clip.prompt, "seed": request.seed_of(i)} for i, (clip, name) in enumerate(zip(asked, named))],
    }  # fmt: skip
    return _write(out, report, text_of(report))


def _generate(cascade: Cascade, request: Request, labels: Sequence[str], folder: Path, progress: Progress | None) -> list[Tensor]:
    """The clips of a request, `(c, s)` each, also written to `folder` as soon as it is there."""
    folder.mkdir(exist_ok=True)
    clips: list[Tensor] = []
    for batch in cascade.clips(request, progress):
        for audio in batch:
            recipe = cascade.recipe_of(request, len(clips), audio.shape[-1] / cascade.sample_rate)
            io.write(folder / f"{len(clips):03d}-{labels[len(clips)]}.ogg", audio, cascade.sample_rate, metadata=recipe)
            clips.append(audio)
    return clips


def _through_codec(cascade: Cascade, known: list[tuple[str, Tensor]], steps: int | None) -> list[tuple[str, Tensor]]:
    """Labelled recordings after encoding and decoding."""
    sounds = [at_level(audio, cascade.rms) for _, audio in known]
    return [(label, _round_trip(cascade.codec, [sound], steps, 1, number, None)[0]) for number, ((label, _), sound) in enumerate(zip(known, sounds))]


def _part(progress: Progress | None, number: int, count: int) -> Progress | None:
    """Progress of the part `number` of `count` equal ones, counted in its steps."""
    return progress and (lambda done, total: progress(number * total + done, count * total))


def _device(module: nn.Module) -> torch.device:
    return device_of(module)


def _provenance(model: str | Path, data: str | Path, split: str | None, seed: int, codec: nn.Module, steps: int | None) -> dict[str, Any]:
    fingerprint = checkpoint.fingerprint(checkpoint.model_folder(model))
    steps = codec.default_steps if steps is None else steps
    return {"model": str(model), "fingerprint": fingerprint, "data": str(data), "split": split, "seed": seed, "codec_steps": steps}


def folder_for(out: str | Path) -> Path:
    """The folder to write to, made before anything takes long."""
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"expected a folder to write to, {out} is a file")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _write(out: Path, report: dict[str, Any], text: str) -> dict[str, Any]:
    """Writes figures about a model, under a heading that says what they were made of; gives the figures back."""
    head = f"# {report['evaluates']}: {report['model']} ({report['fingerprint']})\n\n"
    head += f"data {report['data']}, split {report['split']}; {report['codec_steps']} decoding steps, seed {report['seed']}\n\n"
    return save(out, report, head + text)


def save(out: Path, report: dict[str, Any], text: str) -> dict[str, Any]:
    """The figures as JSON and the text as Markdown; gives the figures back."""
    write_json(out / f"{report['evaluates']}.json", report)
    write_text(out / f"{report['evaluates']}.md", text)
    return report
