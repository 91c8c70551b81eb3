"""A few cases of each kind of tools/chaos, so that it runs and what it looks for holds."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mousai.leftovers import host_mark

ROOT = Path(__file__).parents[2]
ONLY = "cache,encode,generate,synth,weights,latents,codec,options,recipes,models,manifests,settings,bombs,audition,heard,infill,filled,midi,answers"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it forks, and looks into /proc")
def test_what_is_broken_is_mended_or_told_in_a_line(tmp_path):
    counts = {"kills": 10, "full": 4, "races": 3, "damage": 18, "inputs": 28}
    command = [sys.executable, ROOT / "tools/chaos", "--seed", "1", "--only", ONLY, *(f"--{kind}={count}" for kind, count in counts.items())]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert re.search(r"^\| in all \| 63 \| 0 \| 0 \| 0 \| 0 \| 0 \| OK \|$", done.stdout, re.MULTILINE)


def test_folders_of_runs_that_were_killed_are_swept_and_those_of_living_ones_are_not(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    place = importlib.import_module("faults.main").place
    dead, living = (tmp_path / f".mousai-chaos.tmp-{host_mark()}-{process:x}-abcdef" for process in (2**22 + 1, os.getppid()))  # more than Linux counts to
    for folder in (dead, living):
        (folder / "here").mkdir(parents=True)
    made = place(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([living, made]) and not any(made.iterdir())
