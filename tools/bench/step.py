"""What a training step of a recipe's generator takes, reckoned without its weights: operations, memory, and time at a GPU's speed.

    python tools/bench/step.py recipes/muse/muse-dit-1b.yaml --batch 1 8

Operations are counted by torch over a forward and a backward pass of tensors without numbers, recomputed blocks included.
Weights, gradients, AdamW's two moments and the average are counted from the parameters, in float32. What waits for the backward pass is
measured with real numbers, of the network with one layer and with two, and continued to all of them: autocast is not in it, so that with
`precision: bf16` it is somewhat more than half of that. Time is operations by `--tflops` x `--use`: no measurement. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from mousai.generators.latent_diffusion import LatentDiffusion, LatentDiffusionConfig  # noqa: E402
from mousai.recipe import load_recipe  # noqa: E402

GIB = 2**30
COPIES = 5  # of every weight: itself, gradient, two moments, average


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8], help="items of a process")
    parser.add_argument("--tflops", type=float, default=312.0, help="of the GPU; an A800 has 312 in bfloat16")
    parser.add_argument("--use", type=float, default=0.4, help="part of these that is reached")
    parser.add_argument("--frames", type=int, help="latent frames; unless given, the recipe's crop_frames")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    recipe = load_recipe(options.recipe)
    config, frames = recipe.generator.config, options.frames or recipe.data.crop_frames
    if config.stable_audio is None:
        raise SystemExit("step.py: expected a recipe with stable_audio")
    weights, operations = counted(config, frames)
    one, two = (waiting(config, layers, frames) for layers in (1, 2))
    item = one + (config.stable_audio.layers - 1) * (two - one)
    print(f"{weights / 1e6:,.1f} M weights: {COPIES * 4 * weights / GIB:.1f} GiB in all copies; {operations / 1e12:.2f} TFLOP an item of {frames} frames\n")
    print("| items | memory, fp32 | of it waiting | with bf16 about | a step |\n|---|---|---|---|---|")
    for b in options.batch:
        held, time = COPIES * 4 * weights, b * operations / (options.tflops * options.use * 1e12)
        print(f"| {b} | {(held + b * item) / GIB:.1f} GiB | {b * item / GIB:.2f} GiB | {(held + 0.6 * b * item) / GIB:.1f} GiB | {time:.2f} s |")
    return 0


def counted(config: LatentDiffusionConfig, frames: int) -> tuple[int, int]:
    """The weights, and the operations of a forward and a backward pass of one item."""
    with FakeTensorMode():
        generator = LatentDiffusion(config).train()
        with FlopCounterMode(display=False) as counter:
            network_loss(generator, frames).backward()
    return sum(parameter.numel() for parameter in generator.parameters()), counter.get_total_flops()


def waiting(config: LatentDiffusionConfig, layers: int, frames: int) -> int:
    """The bytes that a forward pass of one item leaves for the backward pass, of a network with so many layers."""
    held: dict[int, int] = {}
    generator = LatentDiffusion(replace(config, stable_audio=replace(config.stable_audio, layers=layers))).train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in generator.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network_loss(generator, frames)
    found = sum(held.values())
    del loss
    return found


def network_loss(generator: LatentDiffusion, frames: int) -> torch.Tensor:
    """A loss of one item of noise, by the network alone."""
    shape = generator.config.stable_audio
    tokens = torch.randn(1, generator.config.max_tokens + 4, shape.embedding_features)
    mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
    told = {"tokens": tokens, "mask": mask, "vector": torch.randn(1, shape.global_features)}
    return generator.network(torch.randn(1, shape.in_channels, frames), torch.rand(1), **told).square().mean()


if __name__ == "__main__":
    sys.exit(main())
