"""Seconds of `generate` with networks as they are and compiled, in turn, in one process.

    python tools/bench/compiled.py --threads 1 --clock cpu
    python tools/bench/compiled.py --seconds 10 30 --model starter --rounds 5

The first compiled clip of a length shows what compiling takes; the others are medians of `--rounds`. Compiled code is kept
on the disk by torch: TORCHINDUCTOR_CACHE_DIR at a new folder for a figure of the first time. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402

import mousai  # noqa: E402

CLOCKS = {"wall": time.monotonic, "cpu": time.process_time}


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", nargs="+", type=float, default=[10, 7, 31], help="lengths of clips, in this order")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--prompt", default="slow piano, melancholic")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0 = torch's choice")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="cpu: processor time, for a busy machine")
    options = parser.parse_args(words)
    if options.rounds < 1 or options.threads < 0:
        parser.error("--rounds: expected 1 or more; --threads: 0 or more")
    return options


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    plain, compiled = (mousai.load(options.model, options.device, options.dtype, compile=compile) for compile in (False, True))
    print("| clip | as it is | compiled | faster | first compiled clip | difference |\n|---|---|---|---|---|---|")
    for seconds in options.seconds:

        def clip(cascade: mousai.Cascade) -> torch.Tensor:
            return cascade.generate(options.prompt, seconds=seconds, seed=0, steps=options.steps)

        clip(plain)
        first, other = timed(compiled, clip, options.clock)
        rounds = [[timed(cascade, clip, options.clock) for cascade in (plain, compiled)] for _ in range(options.rounds)]
        before, after = (statistics.median(pair[side][0] for pair in rounds) for side in (0, 1))
        difference = float((rounds[0][0][1] - other).abs().max() / other.abs().max())
        print(f"| {seconds:g} s | {before:.2f} s | {after:.2f} s | {before / after:.2f}× | {first:.1f} s | {difference:.1e} |", flush=True)
    return 0


def timed(cascade: mousai.Cascade, clip: Callable[[mousai.Cascade], torch.Tensor], clock: str) -> tuple[float, torch.Tensor]:
    """The seconds that a clip takes, and the clip."""
    began = CLOCKS[clock]()
    audio = clip(cascade)
    return CLOCKS[clock]() - began, audio


if __name__ == "__main__":
    sys.exit(main())
