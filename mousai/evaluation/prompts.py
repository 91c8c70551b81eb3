"""Are prompts obeyed? Captions of a practice set as prompts, its style classifier as the ear, and whether seeds differ."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mousai.audio.level import at_rms
from mousai.audio.spectral import log_mel
from mousai.data.sources import Source, Track
from mousai.evaluation.features import SAMPLE_RATE
from mousai.evaluation.genre import GenreClassifier, load_classifier, read_clips, rows_of, save_classifier, train_classifier
from mousai.files import file_hash

LABEL = "style"  # the field of a practice set's manifest that names the class
LISTEN_SECONDS = 10.0  # of each clip, in training the classifier


@dataclass(frozen=True)
class Asked:
    """A clip to be generated: the class that it should be, and the words for it."""

    label: str
    prompt: str


def manifest_of(practice: str | Path) -> Path:
    """The manifest of a practice set, given as its folder or as the manifest itself."""
    path = Path(practice)
    path = path / "manifest.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no practice set at {practice}: expected a folder with manifest.jsonl, from `mousai data synth`")
    return path


def tracks_by_label(source: Source) -> dict[str, list[Track]]:
    """The tracks of each class, classes in alphabetical order."""
    tracks: dict[str, list[Track]] = {}
    for track in source:
        if LABEL not in track.metadata:
            raise ValueError(f"{source.name}: {track.key} has no field '{LABEL}'; a practice set from `mousai data synth` has it")
        tracks.setdefault(track.metadata[LABEL], []).append(track)
    return dict(sorted(tracks.items()))


def prompts_for(source: Source, per_class: int, seeds_per_prompt: int) -> list[Asked]:
    """`per_class` clips to ask for of each class, class after class, each prompt `seeds_per_prompt` times in a row.

    Prompts are the tracks' own captions, different ones as far as there are, spread over the set; a caption that says
    no more than the name of the class does not count.
    """
    if per_class < 1 or seeds_per_prompt < 1 or per_class % seeds_per_prompt:
        raise ValueError(f"per_class: expected a multiple of seeds_per_prompt {seeds_per_prompt}, came {per_class}")
    wanted = per_class // seeds_per_prompt
    asked = []
    for label, tracks in tracks_by_label(source).items():
        captions = list(dict.fromkeys(track.metadata.get("caption", "") for track in tracks))
        captions = [text for text in captions if text and _plain(text) != _plain(label)]
        if not captions:
            raise ValueError(f"{source.name}: no track of the class {label} has a caption to prompt with")
        chosen = [captions[i * len(captions) // wanted] if wanted < len(captions) else captions[i % len(captions)] for i in range(wanted)]
        asked += [Asked(label, prompt) for prompt in chosen for _ in range(seeds_per_prompt)]
    return asked


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def practice_classifier(manifest: Path, steps: int = 400) -> tuple[GenreClassifier, Path]:
    """The classifier of a practice set's train split, trained once and kept beside its manifest; and where it is."""
    path = manifest.with_name(f"genre-classifier-{file_hash(manifest)[:8]}.safetensors")
    if not path.is_file():
        seconds = min(LISTEN_SECONDS, *(row["duration"] for row in rows_of(manifest, {"duration": int | float})))
        save_classifier(train_classifier(read_clips(manifest, "train", seconds, LABEL), steps), path)
    return load_classifier(path), path


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share of `right` in `total` (Wilson, JASA 22, 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(right, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def recordings(source: Source, per_class: int, seconds: float) -> list[tuple[str, Tensor]]:
    """The beginnings `(2, s)` of up to `per_class` tracks of each class, with its name."""
    num_samples = round(seconds * SAMPLE_RATE)
    return [
        (label, source.read(track, 0.0, num_samples, SAMPLE_RATE, 2))
        for label, tracks in tracks_by_label(source).items()
        for track in tracks[:per_class]
    ]


def recognised(ear: GenreClassifier, known: Sequence[tuple[str, Tensor]]) -> dict[str, float | int]:
    """For how many of some labelled clips `(c, s)` the classifier names the label."""
    right = sum(ear.name(audio[None])[0] == label for label, audio in known)
    return {"clips": len(known), "accuracy": right / len(known)}


def seed_distances(asked: Sequence[Asked], clips: Sequence[Tensor]) -> dict[str, dict[str, float]]:
    """Log-mel distances in dB of pairs of clips `(c, s)`: one prompt and two seeds, one class and two prompts, two classes.

    Each is `{pairs, mean, least}`; a kind without pairs is left out.
    """
    spectra = [log_mel(at_rms(clip), SAMPLE_RATE) for clip in clips]
    kinds: dict[str, list[float]] = {"one prompt, two seeds": [], "one class, two prompts": [], "two classes": []}
    for (i, first), (j, second) in itertools.combinations(enumerate(asked), 2):
        if first == second:
            kind = "one prompt, two seeds"
        else:
            kind = "one class, two prompts" if first.label == second.label else "two classes"
        kinds[kind].append((spectra[i] - spectra[j]).abs().mean().item())
    return {kind: {"pairs": len(distances), "mean": torch.tensor(distances).mean().item(), "least": min(distances)} for kind, distances in kinds.items() if distances}


def text_of(report: dict[str, Any]) -> str:
    """A report of `jobs.evaluate.evaluate_prompts` as Markdown."""
    low, high = report["interval_95"]
    recorded, through = report["recordings"], report["recordings_through_codec"]
    lines = [
        f"{len(report['clips'])} clips of {report['seconds']:g} s, {report['generator_steps']} generator steps at guidance {report['guidance']:g}.",
        "",
        f"The classifier names the prompted class for **{100 * report['accuracy']:.0f} %** of them"
        f" (95 % interval {100 * low:.0f} … {100 * high:.0f} %; chance {100 * report['chance']:.0f} %),",
        f"and for {100 * recorded['accuracy']:.0f} % of {recorded['clips']} recordings of the set itself"
        + (f", {100 * through['accuracy']:.0f} % after the codec." if through else "."),
        "",
        f"| prompted | {' | '.join(report['labels'])} |",
        "|---" * (len(report["labels"]) + 1) + "|",
        *(f"| {label} | {' | '.join(str(n or '') for n in row)} |" for label, row in zip(report["labels"], report["confusion"]) if any(row)),
        "",
        "| log-mel distance of pairs of clips, dB | pairs | mean | least |",
        "|---|---|---|---|",
        *(f"| {kind} | {distances['pairs']} | {distances['mean']:.2f} | {distances['least']:.2f} |" for kind, distances in report["distances_db"].items()),
    ]
    return "\n".join(lines) + "\n"
