"""What options of a recipe are worth: the same training with and without each, over several seeds.

    python tools/bench/ablations.py recipes/symbolic/prior.yaml --out runs/ablations --seeds 3 --set train.steps=200 \
        --variant plain --variant zclip train.zclip=2.5 --variant post-norm prior.mamba.norm_first=false

Each variant is trained for each seed as by `mousai train`, in a folder of its own; one that is there already is not made again. The columns are the
loss on held-out items at the end (mean and standard deviation over the seeds), how much it differs from the first variant's at the same seed (mean, and
its standard error), the largest norm of a gradient after the warm-up, and seconds a step. Prints a table in Markdown and writes it to OUT/ablations.md.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from mousai.jobs.train import train  # noqa: E402
from mousai.launch.processes import forget  # noqa: E402
from mousai.recipe import load_recipe  # noqa: E402
from mousai.training.loop import NonFiniteLoss  # noqa: E402

COLUMNS = ("variant", "held-out loss", "against the first", "largest gradient", "seconds a step")


def measured(folder: Path, warmup_steps: int) -> dict[str, float]:
    """What the log of a finished run says of it."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    return {
        "loss": [row["valid/loss"] for row in rows if "valid/loss" in row][-1],
        "norm": max(row["gradient_norm"] for row in steps if row["step"] > warmup_steps),
        "seconds": statistics.median(1 / row["steps_per_second"] for row in steps),
    }


def trained(recipe: str, folder: Path, settings: list[str]) -> dict[str, float] | None:
    """A run's figures; None for one whose loss is no number."""
    try:
        train(recipe, folder, [*settings, "train.log_every=1"])
    except NonFiniteLoss as error:
        print(f"{folder}: {error}", file=sys.stderr)
        return None
    finally:
        forget()
    return measured(folder, load_recipe(recipe, settings).train.warmup_steps)


def row_of(name: str, runs: list[dict[str, float] | None], first: list[dict[str, float] | None]) -> list[str]:
    """A variant's line, beside the first variant's runs with the same seeds."""
    if not all(runs):
        return [name, f"{sum(run is None for run in runs)} of {len(runs)} came apart", "", "", ""]
    losses = [run["loss"] for run in runs]
    differences = [run["loss"] - other["loss"] for run, other in zip(runs, first) if other is not None]
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    return [
        name, f"{statistics.mean(losses):.4f} ± {statistics.stdev(losses) if len(losses) > 1 else math.nan:.4f}",
        f"{statistics.mean(differences):+.4f} ± {error:.4f}" if runs is not first and differences else "",
        f"{max(run['norm'] for run in runs):.2f}", f"{statistics.mean(run['seconds'] for run in runs):.2f}",
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all variants")
    parser.add_argument("--variant", nargs="+", action="append", required=True, metavar=("NAME", "KEY=VALUE"))
    options = parser.parse_args()
    runs: dict[str, list[dict[str, float] | None]] = {name: [] for name, *_ in options.variant}
    for seed in range(options.seeds):
        for name, *settings in options.variant:
            runs[name].append(trained(options.recipe, options.out / f"{name}-{seed}", [*options.set, *settings, f"seed={seed}"]))
    first = runs[options.variant[0][0]]
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *(row_of(name, found, first) for name, found in runs.items())]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    print(table)
    (options.out / "ablations.md").write_text(f"{table}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
