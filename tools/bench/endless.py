"""Memory of a piece without end: what the process takes after every so many bars, as a table and a picture.

    python tools/bench/endless.py --model starter-symbolic --bars 10000 --out figures

With `--published` the prior is one of the published size (Mamba-2 of 8 layers of 256, state 16) that has learned nothing, beside the model's phrase VAE. On Linux.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from mousai.networks.ssm import PUBLISHED  # noqa: E402
from mousai.pipelines.symbolic import Symbolic, load  # noqa: E402
from mousai.symbolic.prior import PhrasePrior  # noqa: E402

LINES = 10


def taken() -> float:
    """MiB that the process takes now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def drawn(rows: list[tuple[int, float, float]], path: Path) -> None:
    """Bars against MiB."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([bars for bars, _, _ in rows], [mib for _, mib, _ in rows], marker=".")
    axes.set(xlabel="bars", ylabel="MiB", ylim=(0, 1.2 * max(mib for _, mib, _ in rows)), title="memory of a piece without end")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter-symbolic")
    parser.add_argument("--prompt", default="slow piano")
    parser.add_argument("--bars", type=int, default=10_000)
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    composer = load(options.model)
    if options.published:
        torch.manual_seed(0)
        composer = Symbolic(composer.phrases, PhrasePrior(replace(composer.prior.config, mamba=PUBLISHED, text=None)).requires_grad_(False))
    size = sum(p.numel() for module in (composer.phrases, composer.prior) for p in module.parameters()) / 1e6
    every, began, rows, notes = max(1, options.bars // LINES), time.perf_counter(), [], 0
    for bar, score in enumerate(composer.stream(options.prompt, seed=0), 1):
        notes += score.num_notes
        if bar % every == 0:
            rows.append((bar, taken(), bar / (time.perf_counter() - began)))
        if bar == options.bars:
            break
    print(f"{size:.1f} M weights, {notes} notes; the most that was taken: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB\n")
    print("| bars | MiB | bars a second |\n|---|---|---|")
    for bars, mib, speed in rows:
        print(f"| {bars:,} | {mib:.0f} | {speed:.1f} |")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        drawn(rows, options.out / "endless.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
