"""How long a training run takes to find its files: the first start over a source, and the next ones.

    python tools/bench/sources.py --files 20000

Makes a folder of short FLAC files, a few in each sub-folder, and opens it in a new process each time, as a run does: the first
time without an index, then with the one that the first has left. Shows the time on the wall, and processor time, of opening the
source alone, without the start of Python. The files are in the page cache, for they were just written. Prints a table in
Markdown; `--out` writes JSON too. TMPDIR says where the files go meanwhile: 4 KB each.
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
from mousai.data.sources import open_source
wall, cpu = time.monotonic(), time.process_time()
source = open_source(sys.argv[1])
print(json.dumps({"files": len(source), "seconds": time.monotonic() - wall, "cpu": time.process_time() - cpu}))
"""


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20000)
    parser.add_argument("--seconds", type=float, default=0.1, help="length of each file")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--package", type=Path, default=ROOT, help="another check-out of mousai, to compare with")
    parser.add_argument("--out", type=Path, help="a JSON file")
    options = parser.parse_args(words)
    if options.files < 1 or options.starts < 1 or not 0.01 <= options.seconds <= 60:
        parser.error("expected --files and --starts of at least 1, and --seconds of 0.01 to 60")
    return options


def make_files(folder: Path, count: int, seconds: float) -> None:
    """Writes `count` FLAC files of noise, a hundred in each folder, no two alike."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    for index in range(count):
        place = folder / f"{index // 100:04}"
        place.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"{index:06}.flac", 0.01 * rng.standard_normal(round(44100 * seconds)), 44100)


def start(source: Path, kept: Path, package: Path) -> dict[str, float]:
    """Opens the source in a new process."""
    environment = {**os.environ, "PYTHONPATH": str(package), "MOUSAI_CACHE": str(kept)}
    done = subprocess.run([sys.executable, "-P", "-c", CHILD, str(source)], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"opening {source} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    with tempfile.TemporaryDirectory(prefix="mousai-bench-") as folder:
        make_files(Path(folder, "music"), options.files, options.seconds)
        rows = [start(Path(folder, "music"), Path(folder, "kept"), options.package) for _ in range(options.starts)]
    print("| start | files | seconds | of the processor |\n|---|---|---|---|")
    for number, row in enumerate(rows, 1):
        print(f"| {number} | {row['files']} | {row['seconds']:.2f} | {row['cpu']:.2f} |")
    if options.out:
        options.out.write_text(json.dumps({"options": {"files": options.files, "seconds": options.seconds}, "starts": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
