"""How many files a second `mousai cache` encodes.

    python tools/bench/caching.py --files 60 --seconds 24 --batch-sizes 1 2 4

Makes FLAC files of tones and noise at 44.1 kHz with a manifest, and caches them by the recipe of the shipped generator (or `--recipe`) with the
codec of `--model`, in a new process for each batch size. Loading the models is not counted: it is what a run takes that finds
nothing new. Shows the time on the wall, processor time, and how much of that is of the thread that encodes: where a second core is
free for reading, that is all that is waited for, which a busy machine does not show on the wall. Prints a table in Markdown;
`--out` writes JSON too. `--package` takes another check-out of mousai, which may know no batch sizes (then `--batch-sizes 0`, its own way).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHILD = """
import json, sys, time
from mousai.jobs.cache import cache
recipe, folder, model, batch_size = sys.argv[1:]
more = {"batch_size": int(batch_size)} if int(batch_size) else {}
def run(name):
    manifest, place = f"{folder}/{name}.jsonl", f"{folder}/latents-{name}-{batch_size}"
    return cache(recipe, [f"data.sources=[{manifest}]", f"data.cache={place}", f"codec.path={model}"], **more)
clocks = {"seconds": time.monotonic, "cpu": time.process_time, "encoding": time.thread_time}
def timed(name):
    before = {name: clock() for name, clock in clocks.items()}
    done = run(name)
    return done.added, {name: clock() - before[name] for name, clock in clocks.items()}
run("one")
_, loading = timed("one")
files, spent = timed("all")
print(json.dumps({"files": files, **{name: max(1e-9, spent[name] - loading[name]) for name in clocks}}))
"""


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=24.0, help="length of each file, which is one segment below 48")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 2, 4], help="0 = what the device gets by itself")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes/starter/generator_dit.yaml")
    parser.add_argument("--model", type=Path, default=ROOT / "mousai/starter", help="the model folder of the codec")
    parser.add_argument("--package", type=Path, default=ROOT, help="another check-out of mousai, to compare with")
    parser.add_argument("--out", type=Path, help="a JSON file")
    options = parser.parse_args(words)
    if options.files < 1 or not 0.1 <= options.seconds < 3600 or min(options.batch_sizes) < 0:
        parser.error("expected --files of at least 1, --seconds of 0.1 to 3600 and --batch-sizes from 0 on")
    return options


def make_music(folder: Path, count: int, seconds: float) -> None:
    """Writes `count` files, `all.jsonl` with all of them, and `one.jsonl` with one."""
    import numpy as np
    import soundfile

    rng, time, lines = np.random.default_rng(0), np.arange(round(44100 * seconds)) / 44100, []
    for index in range(count):
        tones = sum(0.1 * np.sin(2 * np.pi * rng.uniform(60, 2000) * time) for _ in range(4))
        soundfile.write(folder / f"{index}.flac", np.stack([tones, tones], 1) + 0.01 * rng.standard_normal((len(time), 2)), 44100)
        fields = {"title": f"Tones {index}", "genre": ["ambient", "drone"], "mood": ["calm"], "bpm": 60 + index % 90, "key": "D minor"}
        lines.append(json.dumps({"file": f"{index}.flac", **fields}) + "\n")
    (folder / "all.jsonl").write_text("".join(lines))
    (folder / "one.jsonl").write_text(lines[0])


def measured(options: argparse.Namespace, folder: Path, batch_size: int) -> dict[str, float]:
    """Caches the files in a new process."""
    environment = {**os.environ, "PYTHONPATH": str(options.package), "MOUSAI_CACHE": str(folder / "kept")}
    words = [str(options.recipe.resolve()), str(folder), str(options.model.resolve()), str(batch_size)]
    done = subprocess.run([sys.executable, "-P", "-c", CHILD, *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"caching with batches of {batch_size} failed: {done.stderr.strip().splitlines()[-1]}")
    return {"batch_size": batch_size, **json.loads(done.stdout)}


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    with tempfile.TemporaryDirectory(prefix="mousai-bench-") as folder:
        make_music(Path(folder), options.files, options.seconds)
        rows = [measured(options, Path(folder), size) for size in options.batch_sizes]
    print("| batch | files | seconds | of the processor | of the encoding thread | files a second | by the encoding thread |\n|---|---|---|---|---|---|---|")
    for row in rows:
        times, size = [row[name] for name in ("seconds", "cpu", "encoding")], row["batch_size"] or "own"
        cells = [size, row["files"], *(f"{time:.1f}" for time in times), *(f"{row['files'] / time:.2f}" for time in (times[0], times[2]))]
        print(f"| {' | '.join(map(str, cells))} |")
    if options.out:
        options.out.write_text(json.dumps({"files": options.files, "seconds": options.seconds, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
