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

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

import mousai  # noqa: E402
from mousai.audio import io  # noqa: E402
from mousai.jobs.render.job import render  # noqa: E402
from mousai.pictures.sheet import log_spectrogram  # noqa: E402
from mousai.request.clip import Request  # noqa: E402
from mousai.request.job_file import read_jobs  # noqa: E402
from mousai.theory import METRES  # noqa: E402

SAMPLES = Path(__file__).parents[1] / "samples"
SECONDS, COLUMNS = 10.0, 3
EXCERPT = (50.0, 20.0)  # of the long piece: from where on, how much; around the second transition
LONG_PIECE = [
    "## A piece of three sections", "",
    "[day.yaml](day.yaml) says how two minutes go from calm to running; [day.ogg](day.ogg) is an excerpt, 20 s around the second",
    "transition at 1:00. The picture shows the whole: its spectrogram, and how alike any two moments of it are.", "",
    "```bash", "mousai render samples/day.yaml --out day.flac", "```", "", "![the whole piece](day.png)", "",
]  # fmt: skip


def main() -> None:
    request = Request([line for line in (SAMPLES / "prompts.txt").read_text().splitlines() if line], SECONDS, seed=1)
    cascade = mousai.load("starter")
    clips, lines = [], ["# What the shipped model makes of a dozen prompts", "", "| clip | prompt | seed | tempo | key | metre |", "|---|---|---|---|---|---|"]
    for index, audio in enumerate(clip for batch in cascade.clips(request) for clip in batch):
        path, recipe = SAMPLES / f"{index + 1:02}.ogg", cascade.recipe_of(request, index, SECONDS)
        io.write(path, audio, cascade.sample_rate, metadata=recipe | {"mousai": mousai.__version__})
        clips.append((recipe, audio))
        heard = " | ".join(str(recipe.get(name, "–")) for name in ("seed", "bpm", "key", "metre"))
        lines.append(f"| [{path.name}]({path.name}) | {recipe['prompt']} | {heard} |")
    draw(clips, cascade.sample_rate)
    excerpt()
    lines += ["", "![spectrograms](sheet.png)", "", "Spectrograms from 50 Hz to 8 kHz; the marks below are the beats that the model was told, the long ones bars.", ""]
    lines += [*LONG_PIECE, "Made by `python tools/make_samples.py`; one of them by hand:", ""]
    lines += ["```bash", f'mousai generate "{request.prompts[0]}" --seconds 10 --seed 1', "```", ""]
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


def draw(clips: list[tuple[dict, Tensor]], sample_rate: int) -> None:
    """The sheet: one panel a clip, one colour scale of 60 dB a panel, logarithmic frequency, and the beats that were told."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * COLUMNS, 3 * -(-len(clips) // COLUMNS)), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (recipe, audio) in zip(figure.subplots(-(-len(clips) // COLUMNS), COLUMNS, squeeze=False).flat, clips):
        picture = log_spectrogram(audio, sample_rate, highest=8000)
        top = picture.max().item()
        panel.imshow(picture.numpy(), origin="lower", aspect="auto", extent=(0, SECONDS, 0, 1), vmin=top - 60, vmax=top, cmap="magma")
        panel.set_title(f"{recipe['seed']}: {recipe['prompt']}"[:56], fontsize=8)
        panel.set_yticks([])
        panel.tick_params(axis="x", labelsize=7)
        if recipe.get("bpm"):
            beats = torch.arange(0, SECONDS, 60 / recipe["bpm"]).tolist()
            in_bar = METRES[recipe["metre"]]
            panel.set_xticks(beats[::in_bar], [""] * len(beats[::in_bar]), minor=False)
            panel.set_xticks(beats, minor=True)
            panel.tick_params(axis="x", which="major", length=9)
    figure.savefig(SAMPLES / "sheet.png", format="png", dpi=64)


if __name__ == "__main__":
    main()
