"""Speed and memory beside audio-diffusion-pytorch, on the same weights and inputs, in one process.

    python tools/bench/compare.py --preset small
    python tools/bench/compare.py --preset paper --device cuda --dtype bfloat16 --frames 512 2048

A frame is 1024 samples at 48 kHz. The two sides run in turn (reference, ours, reference, ours, …) and the medians are
compared, so that what else the machine does strikes both alike; their results must be equal. Peak memory is that of a
fresh process for each side, beyond weights and inputs. Prints a table in Markdown; `--out` writes it as JSON too.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import torch  # noqa: E402
from cases import CASES, Setting  # noqa: E402

from mousai.device import choose_device  # noqa: E402

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}  # of |ours - reference| / |reference|
MEMORY_CASES = ("decode_step", "guided_step", "training_step", "attention")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("paper", "small"), default="small")
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--frames", nargs="+", type=int, default=[64, 256], help="multiples of 64")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4, help="of each sampler, in a whole generation")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0 = torch's choice")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time, for a busy machine")
    parser.add_argument("--compile", action="store_true", help="torch.compile for ours")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing for ours")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--side", choices=("peer", "ours"), help=argparse.SUPPRESS)  # the process that measures memory
    options = parser.parse_args(words)
    if min(options.frames) < 64 or any(frames % 64 for frames in options.frames):
        parser.error(f"--frames: expected multiples of 64, came {options.frames}")
    if min(options.batch, options.steps, options.repeats) < 1 or options.threads < 0:
        parser.error("--batch, --steps and --repeats are at least 1, --threads at least 0")
    if options.clock == "cpu" and options.device != "cpu":
        parser.error("--clock cpu measures nothing of a GPU's work")
    return options


def setting(options: argparse.Namespace) -> Setting:
    return Setting(
        preset=options.preset,
        device=choose_device(options.device),
        dtype=DTYPES[options.dtype],
        batch=options.batch,
        steps=options.steps,
        compile=options.compile,
        checkpointing=options.checkpointing,
    )


def seconds(run: Callable[[], torch.Tensor], device: torch.device, clock: Callable[[], float]) -> tuple[float, torch.Tensor]:
    synchronise(device)
    start = clock()
    result = run()
    synchronise(device)
    return clock() - start, result


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare(name: str, frames: int, options: argparse.Namespace) -> dict:
    """Times of both sides, in turn, and how far apart their results are."""
    s = setting(options)
    case = CASES[name](s, frames)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {"peer": [], "ours": []}
    results = {}
    for repeat in range(options.repeats + 1):
        for side in times:
            taken, results[side] = seconds(getattr(case, side), s.device, clock)
            if repeat:  # the first round warms up
                times[side].append(taken)
    wanted, got = results["peer"].float(), results["ours"].float()
    medians = {side: statistics.median(values) for side, values in times.items()}
    return {
        "case": name,
        "frames": frames,
        "peer_seconds": medians["peer"],
        "ours_seconds": medians["ours"],
        "speedup": medians["peer"] / medians["ours"],
        "difference": float((got - wanted).norm() / wanted.norm()),
    }


def peak_bytes(run: Callable[[], torch.Tensor], device: torch.device) -> int:
    """The most that `run` holds beyond what is held before it."""
    if device.type == "cuda":
        synchronise(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        synchronise(device)
        return torch.cuda.max_memory_allocated(device) - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew (proc(5))
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def resident(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def memory(name: str, frames: int, side: str, options: argparse.Namespace) -> int:
    """`peak_bytes` of one side, from a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--cases", name, "--frames", str(frames)]
    for option in ("preset", "device", "dtype", "batch", "threads"):
        command += [f"--{option}", str(getattr(options, option))]
    command += ["--checkpointing"] if options.checkpointing else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"measuring the memory of {name} ({side}) failed: {done.stderr.strip().splitlines()[-1:]}")
    return int(done.stdout.split()[-1])


def table(rows: list[dict]) -> str:
    lines = [
        "| case | frames (seconds of audio) | reference | ours | faster | memory reference | ours | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        held = [f"{row[k] / 2**20:.0f} MiB" if k in row else "" for k in ("peer_peak_bytes", "ours_peak_bytes")]
        lines.append(
            f"| {row['case']} | {row['frames']} ({row['frames'] * 1024 / 48000:.1f}) | {row['peer_seconds']:.3f} s "
            f"| {row['ours_seconds']:.3f} s | {row['speedup']:.2f}× | {held[0]} | {held[1]} | {row['difference']:.1e} |"
        )
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.side:
        s = setting(options)
        print(peak_bytes(getattr(CASES[options.cases[0]](s, options.frames[0]), options.side), s.device))
        return 0
    rows = []
    for name in options.cases:
        for frames in options.frames:
            row = compare(name, frames, options)
            if options.memory and name in MEMORY_CASES:
                row |= {f"{side}_peak_bytes": memory(name, frames, side, options) for side in ("peer", "ours")}
            rows.append(row)
            print(f"{name} {frames}: {row['speedup']:.2f}x", file=sys.stderr, flush=True)
    machine = torch.cuda.get_device_name() if options.device.startswith("cuda") else platform.processor() or "CPU"
    about = {"torch": torch.__version__, "machine": machine, "threads": torch.get_num_threads()}
    about |= {name: str(value) for name, value in vars(options).items() if name not in ("out", "side")}
    print(table(rows))
    if options.out:
        options.out.write_text(json.dumps({"about": about, "rows": rows}, indent=2) + "\n")
    different = [row for row in rows if not row["difference"] <= TOLERANCE[options.dtype]]
    for row in different:
        print(f"{row['case']} at {row['frames']} frames: results differ by {row['difference']:.1e}", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(f"compare.py: {error}")
