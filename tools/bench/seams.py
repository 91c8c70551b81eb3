"""What the seam score says of music without seams, with hard ones, with faded ones, and of steps in level.

    python tools/bench/seams.py music/*.opus

Every recording is looked at with a boundary put every 8.2 s: as it is; made anew of cuts of 8.2 s from random places of
itself, one after the other, and with equal-power crossfades; as it is, but every other window louder; as it is, but
quieter in the middle of the overlaps. Prints a table in Markdown: the median over recordings, and in brackets where
80 % of them lie.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from mousai.audio import io  # noqa: E402
from mousai.evaluation.seams import Boundaries, SeamScore, seam_score  # noqa: E402

RATE = 48000
FADE = 2.0
Change = Callable[[Tensor, float, torch.Generator], Tensor]


def unedited(audio: Tensor, every: float, generator: torch.Generator) -> Tensor:
    return audio


def pasted(fade: float) -> Change:
    """Cuts from random places, one every `every` seconds, crossfaded over `fade` seconds around each boundary."""

    def change(audio: Tensor, every: float, generator: torch.Generator) -> Tensor:
        step, faded = round(every * RATE), round(fade * RATE)
        count = audio.shape[-1] // step
        rise = torch.linspace(0, math.pi / 2, faded).sin()
        result = audio.new_zeros(len(audio), count * step + faded)
        for number in range(count):
            start = int(torch.randint(audio.shape[-1] - step - faded, (1,), generator=generator))
            cut = audio[:, start : start + step + faded].clone()
            cut[:, :faded] *= rise
            cut[:, step:] *= rise.flip(0)
            result[:, number * step : (number + 1) * step + faded] += cut
        return result[:, faded // 2 : faded // 2 + count * step]

    return change


def stepped(decibels: float) -> Change:
    def change(audio: Tensor, every: float, generator: torch.Generator) -> Tensor:
        window = (torch.arange(audio.shape[-1]) / RATE / every).floor()
        return audio * 10 ** (decibels / 20 * (window % 2))

    return change


def dipped(decibels: float, overlap: float) -> Change:
    def change(audio: Tensor, every: float, generator: torch.Generator) -> Tensor:
        from_boundary = (torch.arange(audio.shape[-1]) / RATE + every / 2) % every - every / 2
        depth = (1 + torch.cos(2 * math.pi * from_boundary.clamp(-overlap / 2, overlap / 2) / overlap)) / 2
        return audio * 10 ** (-decibels / 20 * depth)

    return change


CHANGES: dict[str, tuple[Change, float]] = {
    "unedited": (unedited, 0.0),
    f"unedited, overlap of {FADE:g} s": (unedited, FADE),
    "cuts from random places": (pasted(0.0), 0.0),
    f"cuts from random places, crossfaded over {FADE:g} s": (pasted(FADE), FADE),
    "every other window 1 dB louder": (stepped(1.0), 0.0),
    "every other window 2 dB louder": (stepped(2.0), 0.0),
    f"2 dB quieter in the middle of overlaps of {FADE:g} s": (dipped(2.0, FADE), FADE),
}


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="recordings of three windows or more; shorter ones are left out")
    parser.add_argument("--every", type=float, default=8.2, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(words)
    if not 2 * FADE <= options.every <= 600:
        parser.error(f"--every: expected {2 * FADE:g} to 600 seconds, came {options.every:g}")
    return options


def scores(options: argparse.Namespace) -> dict[str, list[SeamScore]]:
    found: dict[str, list[SeamScore]] = {name: [] for name in CHANGES}
    for number, file in enumerate(options.files):
        audio = io.read(file, RATE, 2)
        if audio.shape[-1] < 3 * options.every * RATE:
            continue
        for name, (change, overlap) in CHANGES.items():
            changed = change(audio, options.every, torch.Generator().manual_seed(options.seed + number))
            boundaries = Boundaries.within(changed.shape[-1] / RATE - 0.1, options.every).seconds
            found[name].append(seam_score([changed], RATE, boundaries, overlap=overlap))
        print(f"{file.name}: {found['unedited'][-1].score:.2f}", file=sys.stderr, flush=True)
    if not found["unedited"]:
        raise ValueError(f"no recording lasts {3 * options.every:g} s")
    return found


def table(found: dict[str, list[SeamScore]]) -> str:
    lines = ["| | seam score | spectrum | loudness | chroma | dip, dB | p < 0.05 |", "|---" * 7 + "|"]
    for name, rows in found.items():
        low, middle, high = torch.quantile(torch.tensor([row.score for row in rows]), torch.tensor([0.1, 0.5, 0.9])).tolist()
        medians = [torch.tensor([getattr(row, part) for row in rows]).quantile(0.5).item() for part in ("spectrum", "loudness", "chroma", "dip_db")]
        small = sum(row.p < 0.05 for row in rows) / len(rows)
        parts = f"{medians[0]:.2f} | {medians[1]:.2f} | {medians[2]:.2f} | {medians[3]:+.2f}"
        lines.append(f"| {name} | {middle:.2f} ({low:.2f} … {high:.2f}) | {parts} | {small:.0%} |")
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    found = scores(arguments(words))
    count = len(found["unedited"])
    print(f"{count} recordings, {sum(row.boundaries for row in found['unedited'])} boundaries\n\n{table(found)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        sys.exit(f"seams.py: {error}")
