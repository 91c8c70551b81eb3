"""Faults that ears find, measured: what negative prompts, joins behind a recording, sections and --strength do to what is heard.

    python tools/bench/faults.py practice starter --music music.jsonl

- *negative*: clips of a style with drums, with and without `--negative drums`: the share of percussive energy (librosa's median filters).
- *extend*: recordings of 20 s gone on with by a prompt: how far the loudness steps over 3 s on either side of the join, and how alike the
  pitch classes are; beside it the same measures within the recordings, 3 s on either side of 14 s.
- *sections*: loudness of each section of a piece, as the model makes them.
- *strength*: clips of the practice set varied towards another style: distance to the clip, and how likely the judge of styles holds the result for
  what was asked and for what it was. The judge is trained on the practice set, and kept beside it.

Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import librosa
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

import mousai  # noqa: E402
from mousai.audio import io, loudness  # noqa: E402
from mousai.audio.level import at_rms  # noqa: E402
from mousai.audio.spectral import log_mel_distance_db  # noqa: E402
from mousai.evaluation.genre import GenreClassifier  # noqa: E402
from mousai.evaluation.harmony import pitch_classes  # noqa: E402
from mousai.evaluation.prompts import practice_classifier  # noqa: E402
from mousai.request.job_file import read_jobs  # noqa: E402
from mousai.request.piece import Piece  # noqa: E402

STRENGTHS = (0.41, 0.59, 0.71, 0.8, 0.87, 1.0)
WITH_DRUMS = ("upbeat rock with drums and bass guitar", "house, 124 bpm, with drums", "funk with a drum kit", "drum and bass, 174 bpm")
SIDE = 3.0  # seconds on either side of a join


def percussive(audio: Tensor) -> float:
    """The share of energy that is percussive, of audio `(c, s)`."""
    spectrum = librosa.stft(audio.mean(0).numpy())
    harmonic, beaten = librosa.decompose.hpss(spectrum)
    powers = [float((abs(part) ** 2).sum()) for part in (beaten, harmonic)]
    return powers[0] / sum(powers)


def lufs(audio: Tensor, rate: int) -> float:
    return loudness.measure([audio], rate, len(audio)).integrated_lufs


def across(audio: Tensor, rate: int, at: float) -> tuple[float, float]:
    """The step of loudness in LU at `at` seconds, and the cosine of the pitch classes on its sides."""
    before, after = (audio[:, round(a * rate) : round((a + SIDE) * rate)] for a in (at - SIDE, at))
    sides = [pitch_classes(each, rate) for each in (before, after)]
    return lufs(after, rate) - lufs(before, rate), torch.nn.functional.cosine_similarity(*sides, dim=0).item()


def row(*cells: object) -> None:
    print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |", flush=True)


def heading(*names: str) -> None:
    print()
    row(*names)
    row(*["---"] * len(names))


def mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def negative(system, seeds: int) -> None:
    heading("percussive share", "without", "with --negative drums")
    for prompt in WITH_DRUMS:
        shares = [mean(percussive(clip) for seed in range(seeds) for clip in system.generate(prompt, 8.0, seed, negative=said)) for said in (None, "drums")]
        row(prompt, *shares)


def extend(system, recordings: list[Path], prompt: str, folder: Path) -> None:
    heading("extend", "step of loudness, LU", "chroma cosine", "step within the recording", "chroma within")
    for path in recordings:
        audio = io.read(path, system.sample_rate, 2)[:, : 20 * system.sample_rate]
        taken = folder / f"{path.stem}.wav"
        io.write(taken, audio, system.sample_rate)
        piece = Piece.from_dict({"extend": str(taken), "prompt": prompt, "seconds": 10})
        whole = torch.cat(list(system.render(piece)), dim=1)
        steps, own = across(whole, system.sample_rate, 20.0), across(audio, system.sample_rate, 14.0)
        row(path.stem[:40], *steps, *own)


def sections(system, job: Path) -> None:
    heading("section", "LUFS")
    (piece,) = read_jobs(job)
    audio, at = torch.cat(list(system.render(piece)), dim=1), 0.0
    for section in piece.sections:
        within = audio[:, round((at + 5) * system.sample_rate) : round((at + section.seconds - 10) * system.sample_rate)]
        row(section.prompt, lufs(within, system.sample_rate))
        at += section.seconds


def strength(system, rows: list[dict], judge: GenreClassifier) -> None:
    heading("--strength", "log-mel distance, dB", "asked for", "as it was")
    labels = judge.config.labels
    clips = [io.read(each["file"], system.sample_rate, 2)[:, : 8 * system.sample_rate] for each in rows]
    targets = rows[1:] + rows[:1]

    def judged(name: str, made: Iterator[Tensor]) -> None:
        found = []
        for clip, was, asked, new in zip(clips, rows, targets, made):
            chances = judge.probabilities(new[None])[0]
            distance = log_mel_distance_db(at_rms(new), at_rms(clip), system.sample_rate).item()
            found.append((distance, chances[labels.index(asked["style"])].item(), chances[labels.index(was["style"])].item()))
        row(name, *(mean(column) for column in zip(*found)))

    judged("codec alone", (system.codec.decode(system.codec.encode(clip[None]), clip.shape[1], seeds=[0])[0] for clip in clips))
    for value in STRENGTHS:
        varied = (system.generate(asked["caption"], seed=n, init=clip, strength=value)[0] for n, (clip, asked) in enumerate(zip(clips, targets)))
        judged(f"{value:g}", varied)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("practice", type=Path, help="the folder of a practice set")
    parser.add_argument("model")
    parser.add_argument("--music", type=Path, help="a manifest of recordings, for `extend`")
    parser.add_argument("--job", type=Path, default=Path(__file__).parents[2] / "samples/day.yaml", help="a job file with sections")
    parser.add_argument("--prompt", default="solo guitar, dreamy", help="what recordings go on as")
    parser.add_argument("--count", type=int, default=6, help="clips, recordings and seeds of each kind")
    parser.add_argument("--out", type=Path, default=Path("faults"), help="a folder for what is made on the way")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    system = mousai.load(arguments.model)
    negative(system, max(1, arguments.count // 2))
    if arguments.music:
        lines = [json.loads(line) for line in arguments.music.read_text().splitlines()]
        held_out = [arguments.music.parent / line["file"] for line in lines if line.get("split") == "valid"]
        extend(system, held_out[: arguments.count], arguments.prompt, arguments.out)
    sections(system, arguments.job)
    manifest = arguments.practice / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    styles = {line["style"]: line | {"file": manifest.parent / line["file"]} for line in rows if line["split"] == "valid"}
    judge, _ = practice_classifier(manifest)
    strength(system, list(styles.values())[: arguments.count], judge)


if __name__ == "__main__":
    main()
