"""The clips of samples/ and their sheet, from samples/prompts.txt and the shipped model.

    python tools/make_samples.py

Clip n has prompt n and seed n, 10 s each, Ogg Vorbis, its recipe inside; sheet.png shows the spectrograms of all.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import mousai  # noqa: E402
from mousai.audio import io  # noqa: E402
from mousai.evaluation.sheet import log_spectrogram  # noqa: E402

SAMPLES = Path(__file__).parents[1] / "samples"
SECONDS, COLUMNS = 10.0, 4


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
    lines += ["", "![spectrograms](sheet.png)", "", "Made by `python tools/make_samples.py`; one of them by hand:", ""]
    lines += ["```bash", f'mousai generate "{prompts[0]}" --seconds 10 --seed 1', "```", ""]
    (SAMPLES / "README.md").write_text("\n".join(lines))


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
