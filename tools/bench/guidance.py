"""What guidance does to music, plain and tempered by an interval, by rescale and by APG: level, peaks, latents, and whether styles are still named.

    python tools/bench/guidance.py practice --model starter --guidance 1 2 3 5 8

Clips are made from captions of a practice set's valid split, one of each style and seed, always the same ones. Of them:

- `std`: the standard deviation of the latents over that of the practice set's own, the mean over channels;
- `channels`: the same of the channel in which it is least and of that in which it is most;
- `error`: that of the model's unguided prediction of the latents by their own prompt, at three times: how unlike music they are to it;
- `level`: rms of the decoded clips in dB over the practice set's, each of these at the model's level;
- `peak`: the mean and the largest of the clips' peaks; `over`: how many of them are above full scale;
- `named`: how many are given the name of their style by a classifier trained on the practice set.

Prints a table in Markdown. With `--negative` all have that negative prompt.
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
from mousai.audio.level import at_level  # noqa: E402
from mousai.data.sources import open_source  # noqa: E402
from mousai.evaluation.prompts import manifest_of, practice_classifier, prompts_for, recordings  # noqa: E402
from mousai.pipelines.system import System  # noqa: E402
from mousai.request.music import Music  # noqa: E402
from mousai.types import Condition, SamplingSettings  # noqa: E402

TIMES = (0.4, 0.6, 0.8)
OFF = {"rescale": 0.0, "interval": (0.0, 1.0), "apg": 0.0, "apg_norm": 0.0, "hold": 0.0}
WAYS = {
    "own": None,  # the model's, as `System.resolved` has it
    "plain": {},
    "rescale 0.5": {"rescale": 0.5},
    "rescale 0.7": {"rescale": 0.7},
    "rescale 1": {"rescale": 1.0},
    "interval (0.3, 1)": {"interval": (0.3, 1.0)},
    "interval (0.3, 1), rescale 0.7": {"interval": (0.3, 1.0), "rescale": 0.7},
    "apg 1": {"apg": 1.0},
    "apg 1, apg_norm 0.1": {"apg": 1.0, "apg_norm": 0.1},
    "apg 1, rescale 0.7": {"apg": 1.0, "rescale": 0.7},
    "interval (0.3, 1), apg 1": {"interval": (0.3, 1.0), "apg": 1.0},
    "hold 1": {"hold": 1.0},
    "apg 1, hold 1": {"apg": 1.0, "hold": 1.0},
    "apg 1, hold 1, interval (0.3, 1)": {"apg": 1.0, "hold": 1.0, "interval": (0.3, 1.0)},
}
BATCH = 4


class Bench:
    """A model, the prompts that it is asked for and what it is measured by."""

    def __init__(self, system: System, practice: str, seconds: float, seeds: int) -> None:
        self.system, self.manifest = system, manifest_of(practice)
        self.source = open_source(self.manifest, "valid")
        self.asked = prompts_for(self.source, seeds, seeds)
        self.ear, _ = practice_classifier(self.manifest)
        multiple = system.generator.frame_multiple
        self.frames = max(1, round(seconds * system.sample_rate / system.codec.hop / multiple)) * multiple
        music = [system.settled(Music(), each.prompt, number) for number, each in enumerate(self.asked)]
        self.condition = system.in_music(system.encode_texts([each.prompt for each in self.asked]), music, self.frames)
        clips = [at_level(known.audio, system.rms) for known in recordings(self.source, 2, seconds)]
        self.level = torch.stack([clip.square().mean() for clip in clips]).mean().sqrt()
        with torch.no_grad():
            self.std = torch.cat([system.codec.encode(clip[None])[0] for clip in clips], dim=-1).std(-1)

    @torch.no_grad()
    def row(self, settings: SamplingSettings, negative: Condition | None) -> str:
        """The cells of one way of sampling."""
        system = self.system
        settings, parts = system.resolved(settings, system.own_settings), []
        for first in range(0, len(self.asked), BATCH):
            part = self.condition[first : first + BATCH]
            against = None if negative is None or settings.guidance == 1 else system.against(negative.expand(len(part)), part)
            parts.append(system.generator.sample(part, self.frames, seeds=list(range(first, first + len(part))), negative=against, settings=settings))
        latents = torch.cat(parts)
        each = latents.transpose(0, 1).flatten(1).std(-1) / self.std
        audio = torch.cat([system.codec.decode(clip[None], seeds=[number]) for number, clip in enumerate(latents)])
        level = 20 * torch.log10(audio.square().mean((1, 2)).mean().sqrt() / self.level)
        peaks = audio.abs().amax((1, 2))
        named = sum(self.ear.name(clip[None])[0] == asked.label for clip, asked in zip(audio, self.asked))
        return (
            f"{each.mean():.2f} | {each.min():.2f} … {each.max():.2f} | {self.error(latents):.3f} | {level:+.1f} dB |"
            f" {peaks.mean():.2f}, {peaks.max():.2f} | {(peaks > 1).sum()} of {len(peaks)} | {named} of {len(peaks)}"
        )

    def error(self, latents: Tensor) -> Tensor:
        """The mean squared error of the unguided prediction."""
        process, times = self.system.generator.process, torch.tensor([*TIMES, 0.0])
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        conditions = [self.condition[number : number + 1] for number in range(len(latents))]
        predict, item = self.system.generator.predictor(conditions, SamplingSettings(guidance=1.0), times), torch.arange(len(latents))
        found = []
        for t in times[:-1]:
            x = process.add_noise(latents, noise, t)
            found.append((predict(x, t.expand(len(x)), item, item, [0] * len(x)) - process.target(latents, noise, t)).square().mean())
        return torch.stack(found).mean()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("practice", help="a practice set, from mousai data synth")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0, 3.0, 5.0, 8.0])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    parser.add_argument("--negative", help="a negative prompt")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--seeds", type=int, default=1, help="clips of each style")
    asked = parser.parse_args(arguments)
    bench = Bench(mousai.load(asked.model, device="cpu"), asked.practice, asked.seconds, asked.seeds)
    negative = None if asked.negative is None else bench.system.encode_texts([asked.negative])
    print("| guidance | | std | channels | error | level | peak | over | named |\n|---|---|---|---|---|---|---|---|---|")
    for guidance in asked.guidance:
        for name, way in {each: WAYS[each] for each in asked.ways}.items() if guidance != 1 else [("none", None)]:
            settings = SamplingSettings(guidance=guidance, steps=asked.steps, **({} if way is None else OFF | way))
            print(f"| {guidance:g} | {name} | {bench.row(settings, negative)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
