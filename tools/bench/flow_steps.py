"""How good a flow's vectors are after so many evaluations of its network, by solver: a table and a figure.

    python tools/bench/flow_steps.py starter_flow --data practice --out figures

Every solver begins from the same noise. What it comes to is compared with what Heun's method comes to in 128 evaluations, and,
as the vectors are meant, with those of the clips that the texts are of.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from mousai.data.sources import open_source  # noqa: E402
from mousai.evaluation.clips import draw_clips  # noqa: E402
from mousai.evaluation.retrieval import retrieval  # noqa: E402
from mousai.jobs.evaluate_joint import LEAST_SECONDS, texts_of  # noqa: E402
from mousai.pictures.figures import save_png  # noqa: E402
from mousai.pipelines.muse import Flow, load_flow  # noqa: E402
from mousai.types import SamplingSettings  # noqa: E402

EVALUATIONS = (1, 2, 4, 6, 8, 10, 16, 24, 32, 64)
A_STEP = {"euler": 1, "midpoint": 2, "heun": 2}
REFERENCE = SamplingSettings(sampler="heun", steps=64)


class Counted(torch.nn.Module):
    """A network that counts its evaluations."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.count, self.cache = network, 0, network.cache

    def forward(self, *given: object) -> Tensor:
        self.count += 1
        return self.network(*given)


def measured(flow: Flow, texts: list[str], real: Tensor, seed: int) -> list[dict[str, float | str]]:
    """A row for each solver and number of evaluations."""
    seeds = list(range(seed, seed + len(texts)))
    flow.generator.network = Counted(flow.generator.network)
    fine = flow.vectors(texts, seeds, REFERENCE)
    tries = [SamplingSettings(sampler=name, steps=count // each) for name, each in A_STEP.items() for count in EVALUATIONS if count % each == 0]
    rows = []
    for settings in [*tries, SamplingSettings(sampler="dopri5")]:
        before = flow.generator.network.count
        found = flow.vectors(texts, seeds, settings)
        calls = flow.generator.network.count - before
        evaluations = calls / len(texts) if settings.sampler == "dopri5" else A_STEP[settings.sampler] * settings.steps  # it goes text by text
        place = retrieval(found @ real.T, torch.eye(len(real), dtype=torch.bool))
        rows.append({
            "solver": settings.sampler, "evaluations": round(evaluations, 1), "off": float(1 - (found * fine).sum(-1).mean()),
            "cosine_true": float((found * real).sum(-1).mean()), "recall_10": place["recall_10"],
        })  # fmt: skip
    return rows


def table(rows: list[dict[str, float | str]]) -> str:
    lines = ["| solver | evaluations | 1 - cosine to the converged | cosine to the true | recall@10 |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| {r['solver']} | {r['evaluations']:g} | {r['off']:.5f} | {r['cosine_true']:.3f} | {100 * r['recall_10']:.0f} % |" for r in rows])


def draw(rows: list[dict[str, float | str]], path: Path, title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for solver in dict.fromkeys(row["solver"] for row in rows):
        of = [row for row in rows if row["solver"] == solver]
        x = [row["evaluations"] for row in of]
        left.plot(x, [max(row["off"], 1e-7) for row in of], marker="o", markersize=4, label=solver)
        right.plot(x, [row["cosine_true"] for row in of], marker="o", markersize=4, label=solver)
    left.set_yscale("log")
    for axes, what in ((left, "1 - cosine to the converged vector"), (right, "cosine to the true vector")):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("network evaluations")
        axes.set_title(what, fontsize=10)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    save_png(figure, path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flow")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="valid")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    flow, source = load_flow(options.flow), open_source(options.data, options.split)
    chosen = draw_clips(source, 10.0, None, flow.joint.sample_rate, 1, options.seed, LEAST_SECONDS)
    real = torch.cat([flow.joint.audio(clip.audio[None]) for clip in chosen])
    rows = measured(flow, texts_of(source, chosen, options.seed), real, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    draw(rows, options.out / "muse_steps.png", f"{flow.name}: {len(chosen)} held-out texts")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
