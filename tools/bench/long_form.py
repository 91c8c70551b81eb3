"""Speed and memory of `mousai render` against the length of the piece, beside `mousai generate` for as much music in clips.

    python tools/bench/long_form.py --threads 1 --clock cpu
    python tools/bench/long_form.py --minutes 0.5 2 --clips 10 --repeats 3 --out figures.json
    python tools/bench/long_form.py --memory 2 60 --steps 4 --codec-steps 1

Every figure is of a process of its own: the two sides run in turn, with the same settings and as FLAC, and medians of
`--repeats` are shown. Peak memory is what the system counted for the process, with Python, torch and weights. Work on a
piece begins when the model is loaded; what came before is "starting". On a GPU generating and decoding overlap and are
not told apart. `--memory` renders pieces of the given lengths and shows how memory grows. Prints tables in Markdown;
`--out` writes JSON too. TMPDIR says where pieces go meanwhile: 32 MB a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).parents[2]))  # and no torch: what this process holds would count for its children too

SETTINGS = ("model", "prompt", "device", "dtype", "seed", "steps", "guidance", "codec_steps", "method")
CLOCKS = {"wall": time.monotonic, "cpu": time.process_time}
PARTS = ("generating", "decoding", "finishing")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", nargs="+", type=float, default=[0.5, 1, 2, 5, 10], help="lengths of pieces")
    parser.add_argument("--clips", type=float, default=30, help="seconds of each clip of generate, about; 0 = render alone")
    parser.add_argument("--memory", nargs="+", type=float, metavar="MINUTES", help="only the memory of render at these lengths")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--prompt", default="slow piano, melancholic")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--codec-steps", type=int)
    parser.add_argument("--method", choices=("joint", "continuation"), help="of render")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="0 = torch's choice")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="cpu: processor time, for a busy machine")
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)  # the process that is measured
    options = parser.parse_args(words)
    if not all(1 <= 60 * length <= 86400 for length in (*options.minutes, *(options.memory or ()))):
        parser.error("--minutes and --memory: expected a second to 24 hours")
    if options.clips and not 1 <= options.clips <= 600:
        parser.error(f"--clips: expected 1 to 600 seconds, or 0, came {options.clips:g}")
    if options.repeats < 1 or options.threads < 0:
        parser.error("--repeats is at least 1, --threads at least 0")
    if options.clock == "cpu" and options.device != "cpu":
        parser.error("--clock cpu measures nothing of a GPU's work")
    return options


# -- the process that is measured ----------------------------------------------------------------------------------------


def child(job: dict[str, Any]) -> dict[str, Any]:
    """Does one job and tells how long its work took, and of `render` its parts."""
    from mousai.cli.options import share_processors

    share_processors()
    import torch

    clock = CLOCKS[job["clock"]]
    spent = dict.fromkeys(("advance", "finish", "load"), 0.0)
    watch(clock, spent)
    {"render": render, "generate": generate}[job["side"]](job)
    work = clock() - spent["load"]
    found = {"work": work, "torch": torch.__version__, "threads": torch.get_num_threads()}
    if job["device"] != "cpu" and torch.cuda.is_available():
        return found | {"gpu_bytes": torch.cuda.max_memory_allocated()}
    parts = (spent["advance"], work - spent["advance"] - spent["finish"], spent["finish"])
    return found | (dict(zip(PARTS, parts)) if job["side"] == "render" else {})


def watch(clock: Callable[[], float], spent: dict[str, float]) -> None:
    """Has `spent` count the time within `advance` and `finish`, and note when `load` came to its end."""
    from mousai.diffusion.windows import Continuation, JointDenoiser
    from mousai.jobs.render import piece as render_piece
    from mousai.pipelines import cascade

    def watched(owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def outer(*given: Any, **named: Any) -> Any:
            began = clock()
            result = inner(*given, **named)
            spent[name] = clock() if name == "load" else spent[name] + clock() - began
            return result

        setattr(owner, name, outer)

    for owner, name in ((JointDenoiser, "advance"), (Continuation, "advance"), (render_piece, "finish"), (cascade, "load")):
        watched(owner, name)


def render(job: dict[str, Any]) -> None:
    from mousai.jobs.render.job import render as run
    from mousai.request.piece import Piece, Section

    settings = {name: job[name] for name in ("seed", "steps", "guidance", "codec_steps", "method")}
    piece = Piece((Section(job["prompt"], job["seconds"]),), **settings)
    run([piece], job["model"], job["folder"], "flac", device=job["device"], dtype=job["dtype"])


def generate(job: dict[str, Any]) -> None:
    from mousai.jobs.generate import generate as run
    from mousai.request.clip import Request

    count = max(1, round(job["seconds"] / job["clips"]))
    settings = {name: job[name] for name in ("seed", "steps", "guidance", "codec_steps")}
    request = Request([job["prompt"]] * count, job["seconds"] / count, **settings)
    for _ in run(request, job["model"], job["folder"], "flac", device=job["device"], dtype=job["dtype"]):
        pass


# -- the process that measures -------------------------------------------------------------------------------------------


def measured(side: str, minutes: float, options: argparse.Namespace) -> dict[str, Any]:
    """What a fresh process needs for one job: seconds by the clock in all and of work, peak bytes."""
    job = {name: getattr(options, name) for name in (*SETTINGS, "clips", "clock")} | {"side": side, "seconds": 60 * minutes}
    environment = os.environ | ({"OMP_NUM_THREADS": str(options.threads)} if options.threads else {})
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as wrong:
        command = [sys.executable, __file__, "--child", json.dumps(job | {"folder": folder})]
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=said, stderr=wrong, env=environment)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise ValueError(f"{side} of {minutes:g} min failed: {last_line(wrong)}")
        found = json.loads(last_line(said))
    total = usage.ru_utime + usage.ru_stime if options.clock == "cpu" else wall
    found |= {"total": total, "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)}
    print(f"{side} {minutes:g} min: {total:.1f} s, {found['peak_bytes'] / 2**20:.0f} MiB", file=sys.stderr, flush=True)
    return found


def last_line(file: BinaryIO) -> str:
    """The last line that a process wrote, "" if none."""
    file.seek(0)
    return next(reversed(file.read().decode().split("\n")[:-1]), "")


def compared(minutes: float, sides: tuple[str, ...], options: argparse.Namespace) -> dict[str, Any]:
    """The medians of each side at one length."""
    runs: dict[str, list[dict]] = {side: [] for side in sides}
    for _ in range(options.repeats):
        for side in sides:
            runs[side].append(measured(side, minutes, options))
    return {"minutes": minutes} | {side: middle(found) for side, found in runs.items()}


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure; what is no figure is the same in all."""
    return {name: each if isinstance(each, str) else statistics.median(run[name] for run in runs) for name, each in runs[0].items()}


def speed_table(rows: list[dict[str, Any]], clips: float) -> str:
    """Times real time of the work, in brackets of the whole process; the work's parts; the same of `generate`."""
    head = "| length | render, × real time (with starting) | generating, s a second of audio | decoding | finishing "
    lines = [f"{head}| generate, clips of {clips:g} s | render / generate | memory of render | of generate |", "|---" * 9 + "|"]
    for row in rows:
        seconds, ours, clip = 60 * row["minutes"], row["render"], row.get("generate")
        parts = " | ".join(f"{ours[name] / seconds:.4f}" if name in ours else "" for name in PARTS)
        theirs = f"{times(seconds, clip)} | {clip['work'] / ours['work']:.2f} | {memory(ours)} | {memory(clip)}" if clip else f"| | {memory(ours)} |"
        lines.append(f"| {row['minutes']:g} min | {times(seconds, ours)} | {parts} | {theirs} |")
    return "\n".join(lines)


def memory_table(rows: list[dict[str, Any]]) -> str:
    first = rows[0]["render"]["peak_bytes"]
    lines = ["| length | peak memory | beside the first | × real time (with starting) |", "|---|---|---|---|"]
    for row in rows:
        found = row["render"]
        lines.append(f"| {row['minutes']:g} min | {memory(found)} | {found['peak_bytes'] / first:.2f}× | {times(60 * row['minutes'], found)} |")
    return "\n".join(lines)


def times(seconds: float, found: dict[str, Any]) -> str:
    return f"{seconds / found['work']:.2f} ({seconds / found['total']:.2f})"


def memory(found: dict[str, Any]) -> str:
    gpu = f" + {found['gpu_bytes'] / 2**20:.0f} MiB of the GPU" if "gpu_bytes" in found else ""
    return f"{found['peak_bytes'] / 2**20:.0f} MiB{gpu}"


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    if options.child:
        print(json.dumps(child(options.child)))
        return 0
    sides = ("render", "generate") if options.clips and not options.memory else ("render",)
    rows = [compared(minutes, sides, options) for minutes in options.memory or options.minutes]
    print(memory_table(rows) if options.memory else speed_table(rows, options.clips))
    if options.out:
        about = {"machine": platform.processor() or platform.machine()} | {name: getattr(options, name) for name in (*SETTINGS, "clips", "clock", "repeats")}
        options.out.write_text(json.dumps({"about": about, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(f"long_form.py: {error}")
