"""The command line under `accelerate launch`, as the README has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from mousai.checkpoint import load_model

ROOT = Path(__file__).parent.parent.parent


def test_training_in_two_processes_speaks_once(codec_recipe: Path, tmp_path: Path) -> None:
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(ROOT / "recipes/accelerate/cpu.yaml"), "--num_processes", "2"]
    train = ["-m", "mousai", "train", str(codec_recipe), "--out", str(tmp_path / "run"), "--set", "train.steps=2", "--set", "train.batch_size=1", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *launch, *train], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"step": 2, "reason": "done", "out": str(tmp_path / "run")}
    config, state = load_model(tmp_path / "run" / "model")
    assert config["provenance"]["step"] == 2 and state
