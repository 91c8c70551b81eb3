"""What guidance does to latents, plain and tempered by an interval, by rescale and by APG: how much of the prompt is heard, and how loud it gets.

    python tools/bench/guidance.py

Latents are made for eight prompts of samples/prompts.txt. `error` is that of the model's unguided prediction of them by
their own prompt, at three times: how unlike music they are to it. `heard` is how much larger it is by the other seven
prompts; `std` their standard deviation, which is 1 in training; `peak` the mean of the largest magnitudes. Prints a table
in Markdown.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

import mousai  # noqa: E402
from mousai.request.clip import read_prompts  # noqa: E402
from mousai.types import Condition, Generator, SamplingSettings  # noqa: E402

PROMPTS = 8
TIMES = (0.4, 0.6, 0.8)
WAYS = {
    "plain": {},
    "interval (0.1, 0.8)": {"interval": (0.1, 0.8)},
    "rescale 0.7": {"rescale": 0.7},
    "apg 1": {"apg": 1.0},
    "apg 1, apg_norm 0.1": {"apg": 1.0, "apg_norm": 0.1},
    "apg 1, apg_norm 0.03": {"apg": 1.0, "apg_norm": 0.03},
}


def errors(generator: Generator, latents: Tensor, conditions: list[Condition]) -> Tensor:
    """The mean squared error of the unguided prediction for each of the latents (b, d, l) by each of the conditions, `(b, n)`."""
    times = torch.tensor([*TIMES, 0.0])
    predict = generator.predictor(conditions, SamplingSettings(guidance=1.0), times)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    found = torch.zeros(len(latents), len(conditions))
    for t in times[:-1]:
        x, target = generator.process.add_noise(latents, noise, t), generator.process.target(latents, noise, t)
        for number in range(len(conditions)):
            item = torch.full((len(x),), number)
            found[:, number] += (predict(x, t.expand(len(x)), item, item, [0] * len(x)) - target).square().mean((1, 2))
    return found / len(TIMES)


@torch.no_grad()
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="starter")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 5.0, 12.0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--clips", type=int, default=1, help="of each prompt")
    asked = parser.parse_args(arguments)
    system = mousai.load(asked.model, device="cpu")
    generator, each = system.generator, system.encode_texts(read_prompts(ROOT / "samples" / "prompts.txt")[:PROMPTS])
    which = torch.arange(PROMPTS).repeat(asked.clips)
    print("| guidance | | error | heard | std | peak |\n|---|---|---|---|---|---|")
    for guidance in asked.guidance:
        for name, settings in WAYS.items() if guidance != 1 else [("none", {})]:
            settings = SamplingSettings(guidance=guidance, steps=asked.steps, sampler="dpmpp_2m", schedule="cosine", eta=0.0, **settings)
            latents = generator.sample(each[which], asked.frames, seeds=list(range(len(which))), settings=settings)
            found = errors(generator, latents, [each[i : i + 1] for i in range(PROMPTS)])
            own = found.gather(1, which[:, None])[:, 0]
            heard, peak = ((found.sum(1) - own) / (PROMPTS - 1) - own).mean(), latents.abs().amax((1, 2)).mean()
            print(f"| {guidance:g} | {name} | {own.mean():.3f} | {heard:.3f} | {latents.std():.2f} | {peak:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
