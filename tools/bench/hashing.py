"""What it costs to check a model's hashes when it is loaded, beside the loading itself, in processor time: the first time in a process, and again.

    python tools/bench/hashing.py starter

Prints a table in Markdown: medians of `--times` loads; each first load is that of a new process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

from mousai import checkpoint, files  # noqa: E402


def once(model: str) -> list[tuple[float, float]]:
    """Seconds of all and of hashing, of the first load in this process and of the second."""
    spent, found = [0.0], []
    hashed = files.file_hash

    def timed(*arguments: object) -> str:
        began = time.process_time()
        try:
            return hashed(*arguments)
        finally:
            spent[0] += time.process_time() - began

    files.file_hash = checkpoint.file_hash = timed
    for _ in range(2):
        spent[0], began = 0.0, time.process_time()
        import mousai

        mousai.load(model, "cpu")
        found.append((time.process_time() - began, spent[0]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="starter")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--once", action="store_true", help="one process' figures, as JSON")
    asked = parser.parse_args()
    if asked.once:
        print(json.dumps(once(asked.model)))
        return
    command = [sys.executable, __file__, asked.model, "--once"]
    runs = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(asked.times)]
    print("| load | ms of a processor | of these hashing | share |\n|---|---|---|---|")
    for row, name in enumerate(("the first in a process", "again")):
        everything, hashing = (median(run[row][column] for run in runs) for column in (0, 1))
        print(f"| {name} | {1000 * everything:.0f} | {1000 * hashing:.1f} | {100 * hashing / everything:.1f} % |")


if __name__ == "__main__":
    main()
