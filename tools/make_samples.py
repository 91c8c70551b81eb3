"""The clips of samples/ and their sheet, from samples/prompts.txt and the shipped model, and its long piece.

    python tools/make_samples.py

Clip n has prompt n and seed n, 10 s each, Ogg Vorbis, its recipe inside; sheet.png shows the spectrograms of all.
day.yaml is rendered whole; its picture and an excerpt stay.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import mousai  # noqa: E402
from mousai.audio import io  # noqa: E402
from mousai.jobs.render.job import render  # noqa: E402
from mousai.pictures.sheet import log_spectrogram  # noqa: E402
from mousai.request.job_file import read_jobs  # noqa: E402

SAMPLES = Path(__file__).parents[1] / "samples"
SECONDS, COLUMNS = 10.0, 4
EXCERPT = (50.0, 20.0)  # of the long piece: from where on, how much; around the second transition
LONG_PIECE = [
    "## A piece of three sections", "",
    "[day.yaml](day.yaml) says how two minutes go from calm to running; [day.ogg](day.ogg) is an excerpt, 20 s around the second",
    "transition at 1:00. The picture shows the whole: its spectrogram, and how alike any two moments of it are.", "",
    "```bash", "mousai render samples/day.yaml --out day.flac", "```", "", "![the whole piece](day.png)", "",
]  # fmt: skip


def main() -> None:
    prompts = [line for line in (SAMPLES / "prompts.txt").read_text().splitlines() if line]
    cascade = mousai.load("starter")
    clips, lines = [], ["# What the shipped model makes of a dozen prompts", "", "| clip | prompt | seed |", "|---|---|---|"]
    for seed, prompt in enumerate(prompts, start=1):
        audio = cascade.generate(prompt, seconds=SECONDS, seed=seed)[0]
        path = SAMPLES / f"{seed:02}.ogg"
        recipe = {"prompt": prompt, "seed": seed, "seconds": SECONDS, "model": "starter", "fingerprint": cascade.fingerprint}
        io.write(path, audio, cascade.codec.sample_rate, metadata=recipe | {"mousai": mousai.__version__})
        clips.append((f"{seed}: {prompt}", audio))
        lines.append(f"| [{path.name}]({path.name}) | {prompt} | {seed} |")
    draw(clips, cascade.codec.sample_rate)
    excerpt()
    lines += ["", "![spectrograms](sheet.png)", "", *LONG_PIECE, "Made by `python tools/make_samples.py`; one of them by hand:", ""]
    lines += ["```bash", f'mousai generate "{prompts[0]}" --seconds 10 --seed 1', "```", ""]
    (SAMPLES / "README.md").write_text("\n".join(lines))


def excerpt() -> None:
    """Renders the long piece; keeps its picture and a part of it."""
    with tempfile.TemporaryDirectory() as folder:
        result = render(read_jobs(SAMPLES / "day.yaml"), out=folder).results[0]
        start, seconds = EXCERPT
        rate = result.made["sample_rate"]
        audio = io.read(result.file, rate, 2, start_seconds=start, num_samples=round(seconds * rate))
        io.write(SAMPLES / "day.ogg", audio, rate, metadata=io.read_metadata(result.file) | {"excerpt": [start, start + seconds]})
        shutil.copy(result.file.with_suffix(".png"), SAMPLES / "day.png")


def draw(clips: list, sample_rate: int) -> None:
    """The sheet: one panel a clip, one colour scale of 80 dB a panel, logarithmic frequency from 40 Hz to 20 kHz."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(clips) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 2.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (title, audio) in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, clips):
        picture = log_spectrogram(audio, sample_rate)
        top = picture.max().item()
        panel.imshow(picture.numpy(), origin="lower", aspect="auto", extent=(0, SECONDS, 0, 1), vmin=top - 80, vmax=top, cmap="magma")
        panel.set_title(title[:44], fontsize=8)
        panel.set_yticks([])
        panel.tick_params(axis="x", labelsize=7)
    figure.savefig(SAMPLES / "sheet.png", format="png", dpi=80)


if __name__ == "__main__":
    main()
