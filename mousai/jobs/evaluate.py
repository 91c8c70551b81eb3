"""`mousai evaluate`: how well a codec brings music back, and whether its joins can be found.

Each function writes its figures as JSON, a table as Markdown and a picture where there is something to see into a
folder, and returns the figures. docs/evaluation.md has the methods.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mousai import checkpoint
from mousai.audio.level import at_level, level_gain, rms_of
from mousai.checks import check_number
from mousai.data.sources import open_source
from mousai.device import device_of
from mousai.evaluation import lines
from mousai.evaluation.clips import draw_clips
from mousai.evaluation.codec import baselines, measure, summary, table
from mousai.evaluation.codec_joins import JoinJudge
from mousai.evaluation.phases import Phase, silent
from mousai.files import write_json, write_text
from mousai.pictures.sheet import spectrogram_sheet
from mousai.pipelines.cascade import load_codec
from mousai.randomness import positional_noise
from mousai.request.clip import MAX_BATCH
from mousai.types import MAX_STEPS, Callback

LEAST_SECONDS = 1.0  # of a clip: a pulse is not to be seen in less
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
    latent_noise: float | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    phase: Phase = silent,
) -> dict[str, Any]:
    """How near decode(encode(x)) comes to x for one crop of each track (or `clips` of them), beside baselines.

    Crops are brought to the level that the codec was trained at, if it was at one. With `latent_noise` stands beside it what becomes
    of latents with noise of that standard deviation, such as a generator leaves, where latents have 1. The speed of decoding is this machine's
    as it is while it is measured. Writes codec.json, codec.md and
    codec.png, a sheet of spectrograms from the nearest clip to the farthest.
    """
    check_number("batch", batch, 1, MAX_BATCH, whole=True)
    check_number("steps", steps, 1, MAX_STEPS, whole=True)
    check_number("seconds", seconds, LEAST_SECONDS, 600, unit=" s")
    check_number("latent_noise", latent_noise, 0, 10)
    codec, rms = load_codec(model, device, dtype)
    source = open_source(data, split)
    chosen = draw_clips(source, seconds, clips, codec.sample_rate, codec.channels, seed)
    out = folder_for(out)
    references = [at_level(clip.audio, rms) for clip in chosen]
    decoded, took = round_trip(codec, references, steps, batch, seed, phase("encoding and decoding: steps"))
    noisy = {}
    if latent_noise:
        what = f"decode(encode(x) + {latent_noise:g} × noise)"
        noisy[what], _ = round_trip(codec, references, steps, batch, seed, phase(f"{what}: steps"), latent_noise)
    phase("making noises and Griffin-Lim to compare with")
    candidates = {OURS: decoded, **noisy, **baselines(references, codec.sample_rate, codec.hop, codec.latent_channels, seed)}
    rows = {name: summary(measured(name, sounds, references, codec.sample_rate, phase)) for name, sounds in candidates.items()}
    original = summary(lines.measure(references, references, codec.sample_rate, phase("measuring the originals: clips")))
    report = {
        "evaluates": "codec",
        **provenance(model, data, split, seed, codec, steps),
        "seconds": seconds,
        "values_a_second": codec.latent_channels * codec.sample_rate / codec.hop,
        "decoding_times_real_time": len(chosen) * seconds / took,
        "clips": [clip.to_dict() for clip in chosen],
        "share_of": {name: rows[OURS]["log_mel_db"]["mean"] / row["log_mel_db"]["mean"] for name, row in rows.items() if name != OURS},
        "original": original,
        "rows": rows,
    }
    _draw_sheet(out / "codec.png", report, references, decoded, codec.sample_rate)
    return write(out, report, _text(report))


def measured(name: str, sounds: Sequence[Tensor], references: Sequence[Tensor], sample_rate: int, phase: Phase) -> dict[str, list[float]]:
    """Every measure of sounds `(c, s)` against their references, one number a clip."""
    progress = phase(f"measuring {name}: clips")
    return measure(sounds, references, sample_rate) | lines.measure(sounds, references, sample_rate, progress)


def _text(report: dict[str, Any]) -> str:
    rows = report["rows"]
    ordered = {OURS: rows[OURS], **dict(sorted(rows.items(), key=lambda item: item[1]["log_mel_db"]["mean"]))}
    shares = "\n".join(f"- {share:.2f} × {name}" for name, share in report["share_of"].items())
    return (
        f"{len(report['clips'])} clips of {report['seconds']:g} s; {report['values_a_second']:.0f} latent values a second; "
        f"decoded at {report['decoding_times_real_time']:.1f} × real time.\n\n"
        f"What a listener follows, means over clips:\n\n{lines.table({'original': report['original'], **ordered})}\n\n"
        f"How near, mean ± standard deviation over clips:\n\n{table(rows)}\n\nThe log-mel distance of {OURS} is\n{shares}\n"
    )


def round_trip(
    codec: nn.Module, references: Sequence[Tensor], steps: int | None, batch: int, seed: int, progress: Callback, noise: float = 0.0
) -> tuple[list[Tensor], float]:
    """decode(encode(x)) of clips `(c, s)` of one shape, `batch` at a time, clip i drawn from seed + i; and the seconds that decoding took.

    `noise` is the standard deviation of what is added to the latents.
    """
    decoded: list[Tensor] = []
    took = 0.0
    groups = [references[i : i + batch] for i in range(0, len(references), batch)]
    for number, group in enumerate(groups):
        audio = torch.stack(list(group)).to(device_of(codec))
        seeds = [seed + len(decoded) + i for i in range(len(group))]
        latents = codec.encode(audio)
        if noise:
            others = [number + 2**32 for number in seeds]  # than those of the decoder's noise
            latents = latents + noise * positional_noise(others, 0, latents.shape[2], latents.shape[1]).transpose(1, 2).to(latents)
        if latents.is_cuda:
            torch.cuda.synchronize(latents.device)  # encoding is not to be timed
        began = time.perf_counter()
        sound = codec.decode(latents, audio.shape[-1], seeds=seeds, steps=steps, callback=_part(progress, number, len(groups))).float().cpu()
        took += time.perf_counter() - began
        decoded += sound
    return decoded, took


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
    phase: Phase = silent,
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
    progress = phase("encoding and decoding: steps")
    for number, clip in enumerate(chosen):
        audio = at_level(clip.audio, rms)
        judge.add(audio, *_long_round_trip(codec, audio, steps, seed + number, _part(progress, number, len(chosen))))
    verdict = judge.verdict(seed)
    report = {
        "evaluates": "joins",
        **provenance(model, data, split, seed, codec, steps),
        "pieces": [{**clip.to_dict(), "seconds": clip.audio.shape[-1] / codec.sample_rate} for clip in chosen],
        "stride_seconds": judge.stride_seconds,
        "fade_seconds": judge.fade_seconds,
        **verdict.to_dict(),
    }
    intro = f"{len(chosen)} pieces; a join every {judge.stride_seconds:.2f} s, faded over {judge.fade_seconds:.2f} s."
    return write(out, report, f"{intro} {verdict.table()}\n")


def _long_round_trip(codec: nn.Module, audio: Tensor, steps: int | None, seed: int, callback: Callback) -> tuple[Tensor, Tensor, Tensor]:
    """The decoded audio of a piece `(c, s)`, its latents from windows and those of the whole in one window."""
    batch = audio[None].to(device_of(codec))
    windowed, whole = codec.encode(batch), codec.encode(batch, whole=True)
    decoded = codec.decode(windowed, audio.shape[-1], seeds=[seed], steps=steps, callback=callback)
    return decoded[0].float().cpu(), windowed[0].float().cpu(), whole[0].float().cpu()


def _part(progress: Callback, number: int, count: int) -> Callback:
    """Progress of the part `number` of `count` equal ones, counted in its steps."""
    return lambda done, total: progress(number * total + done, count * total)


def provenance(model: str | Path, data: str | Path, split: str | None, seed: int, codec: nn.Module, steps: int | None) -> dict[str, Any]:
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


def write(out: Path, report: dict[str, Any], text: str) -> dict[str, Any]:
    """Writes figures about a model, under a heading that says what they were made of; gives the figures back."""
    head = f"# {report['evaluates']}: {report['model']} ({report['fingerprint']})\n\n"
    head += f"data {report['data']}, split {report['split'] or 'all'}; {report['codec_steps']} decoding steps, seed {report['seed']}\n\n"
    return save(out, report, head + text)


def save(out: Path, report: dict[str, Any], text: str) -> dict[str, Any]:
    """The figures as JSON and the text as Markdown; gives the figures back."""
    write_json(out / f"{report['evaluates']}.json", report)
    write_text(out / f"{report['evaluates']}.md", text)
    return report
