"""Time and memory of a sample against the batch it is made in, of a recipe's generator and of its codec's decoder.

    python tools/bench/batches.py --recipes recipes/muse/small.yaml recipes/muse/muse-dit-small.yaml --frames 1 128 --steps 5
    python tools/bench/batches.py --device cuda --recipes recipes/muse/muse-271m.yaml recipes/paper/generator.yaml recipes/muse/muse-dit-1b.yaml \
        --frames 1 2048 1024 --steps 50 --dtype bfloat16

Weights and conditions are random: time and memory do not depend on them. A text is read once for each that is different, before,
and not in these figures. Guidance is the recipe's. `--frames` is a number for each recipe, 1 of a vector's. `--codec` decodes the same batches by a
codec's folder. Peak memory is what a batch holds beyond weights and arguments, of a process of its own where the device is the CPU.
`--figure` draws what a sample takes beside one alone.
Prints a table in Markdown, beside it what MUSE published (A800): its first stage 1667 ms alone and 111 ms a sample at 16, its second 9.94 s and
6.67 s for 12 s of music.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402

from mousai.pictures.figures import save_png  # noqa: E402
from mousai.recipe import load_part, load_recipe  # noqa: E402
from mousai.types import Condition, Generator, SamplingSettings  # noqa: E402

CLOCKS = {"wall": time.monotonic, "cpu": time.process_time}
PUBLISHED = {"vector_flow": "15.0×", "latent_diffusion": "1.5×"}  # at 16, of MUSE's two stages
MIB = 2**20


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--frames", nargs="+", type=int, required=True, help="latent frames of a sample, for each recipe")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--codec", help="a codec's folder, or starter, that decodes as many frames as the last recipe has")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0 = torch's choice")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="cpu: processor time, for a busy machine")
    parser.add_argument("--figure", type=Path, help="a PNG file to draw what a sample takes, beside one alone, to")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--peak", nargs=2, type=int, metavar=("CASE", "BATCH"), help=argparse.SUPPRESS)  # the process that measures memory
    options = parser.parse_args(words)
    if len(options.frames) != len(options.recipes) or min(options.frames + options.batches + [options.steps, options.rounds]) < 1:
        parser.error("--frames: expected a number for each recipe, and all numbers to be 1 or more")
    return options


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    cases = [(path, frames, None) for path, frames in zip(options.recipes, options.frames)]
    cases += [(options.codec, options.frames[-1], "codec")] if options.codec else []
    if options.peak:
        number, b = options.peak
        print(peak_bytes(runner(*cases[number], options)[0], b, torch.device(options.device)))
        return 0
    print("| part | weights | batch | a sample | of one alone | published, at 16 | memory a sample | reckoned |\n|---|---|---|---|---|---|---|---|")
    found: dict[str, list[float]] = {}
    for number, case in enumerate(cases):
        run, weights, kind, reckoned = runner(*case, options)
        run(1)
        alone, name = None, f"{Path(case[0]).stem}, {case[1]} {'frame' if case[1] == 1 else 'frames'}"
        for b in options.batches:
            seconds = statistics.median(timed(run, b, options) for _ in range(options.rounds)) / b
            alone = alone or seconds
            found.setdefault(name, []).append(seconds / alone)
            memory = f"{measured(number, b, options, words) / b / MIB:.1f} MiB" if options.memory else ""
            published = PUBLISHED.get(kind, "") if b == 16 else ""
            print(f"| {name} | {weights / 1e6:.1f} M | {b} | {1000 * seconds:.1f} ms | {alone / seconds:.2f}× | {published} | {memory} | {reckoned / MIB:.1f} MiB |", flush=True)
    if options.figure:
        draw(found, options.batches, options.figure)
    return 0


def draw(found: Mapping[str, Sequence[float]], batches: Sequence[int], path: Path) -> None:
    """What a sample takes of the time of one alone, over the batch, and what MUSE published of its stages."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, shares in found.items():
        axes.plot(batches, shares, marker="o", label=name)
    for kind, gain in PUBLISHED.items():
        axes.plot([1, 16], [1, 1 / float(gain.removesuffix("×"))], ":", color="#8a9099", marker="x")
        axes.annotate(f"MUSE, {'first' if kind == 'vector_flow' else 'second'} stage, A800", (16, 1 / float(gain.removesuffix("×"))), xytext=(-4, 6), textcoords="offset points", ha="right", fontsize=8)
    axes.set(xscale="log", xticks=batches, xticklabels=batches, xlabel="batch", ylabel="time of a sample, 1 = alone", ylim=(0, None))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save_png(figure, path, dpi=110)


@torch.no_grad()
def runner(place: str, frames: int, kind: str | None, options: argparse.Namespace) -> tuple[Callable[[int], torch.Tensor], int, str, int]:
    """`run(b)` for a case; the weights that it has, its type, and the bytes that a sample is reckoned to take."""
    if kind == "codec":
        codec = load_part("codec", place).to(options.device)
        codec.set_precision(getattr(torch, options.dtype))
        latents = torch.randn(max(options.batches), codec.latent_channels, frames, device=options.device)
        return lambda b: codec.decode(latents[:b]), size(codec), kind, codec.window_bytes(frames)
    part = load_recipe(place).generator
    generator = part.build(0).to(options.device).eval().requires_grad_(False)
    generator.set_precision(getattr(torch, options.dtype))
    condition, settings = random_condition(generator, max(options.batches)), SamplingSettings(steps=options.steps)
    guided = generator.sampling.guidance not in (None, 1.0)
    about = condition.tokens.shape[1] if part.type == "vector_flow" else frames

    def run(b: int) -> torch.Tensor:
        return generator.sample(condition[:b], frames, seeds=list(range(b)), settings=settings)

    return run, size(generator), part.type, generator.network.row_bytes(about) * (1 + guided)


def random_condition(generator: Generator, b: int) -> Condition:
    """Tokens and vectors of what a generator accepts."""
    accepts, draw = generator.accepts, torch.Generator().manual_seed(0)
    tokens = torch.randn(b, accepts.max_tokens, accepts.tokens, generator=draw) if accepts.tokens else None
    vectors = {name: torch.nn.functional.normalize(torch.randn(b, features, generator=draw), dim=-1) for name, features in accepts.vectors.items()}
    return Condition(tokens, None if tokens is None else torch.ones(tokens.shape[:2], dtype=torch.bool), vectors)


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def timed(run: Callable[[int], torch.Tensor], b: int, options: argparse.Namespace) -> float:
    """The seconds of a batch."""
    began = CLOCKS[options.clock]()
    run(b)
    if options.device != "cpu":
        torch.cuda.synchronize()
    return CLOCKS[options.clock]() - began


def measured(number: int, b: int, options: argparse.Namespace, words: list[str] | None) -> int:
    """The peak of a case at a batch: on a CPU, of a process of its own."""
    if options.device != "cpu":
        cases = [(path, frames, None) for path, frames in zip(options.recipes, options.frames)] + [(options.codec, options.frames[-1], "codec")]
        return peak_bytes(runner(*cases[number], options)[0], b, torch.device(options.device))
    command = [sys.executable, __file__, *(sys.argv[1:] if words is None else words), "--peak", str(number), str(b)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"measuring memory failed: {done.stderr.strip().splitlines()[-1:]}")
    return int(done.stdout)


def peak_bytes(run: Callable[[int], torch.Tensor], b: int, device: torch.device) -> int:
    """The most that a batch holds beyond what is held before it, once one sample was made."""
    run(1)
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run(b)
        return torch.cuda.max_memory_allocated(device) - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew (proc(5))
    before = resident("VmRSS")
    run(b)
    return max(0, resident("VmHWM") - before)


def resident(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
