"""The command line under `accelerate launch`, as the README has it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from mousai.checkpoint import load_model
from mousai.locks import is_locked

ROOT = Path(__file__).parent.parent.parent


def test_training_in_two_processes_speaks_once(codec_recipe: Path, tmp_path: Path) -> None:
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(ROOT / "recipes/accelerate/cpu.yaml"), "--num_processes", "2"]
    train = ["-m", "mousai", "train", str(codec_recipe), "--out", str(tmp_path / "run"), "--set", "train.steps=2", "--set", "train.batch_size=1", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *launch, *train], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"step": 2, "reason": "done", "out": str(tmp_path / "run")}
    shutil.copytree(tmp_path / "run/state/step-0000002", tmp_path / "run/state/step-0000001")
    again = subprocess.run([sys.executable, *launch, *train], capture_output=True, text=True, timeout=300, env=environment)
    assert again.returncode == 0 and json.loads(again.stdout)["step"] == 2, again.stderr  # one of the two tidies
    assert [path.name for path in (tmp_path / "run/state").iterdir()] == ["step-0000002"]
    config, state = load_model(tmp_path / "run" / "model")
    assert config["provenance"]["step"] == 2 and state


def test_ranks_of_a_killed_launcher_save_and_end(codec_recipe: Path, tmp_path: Path) -> None:
    run, environment = tmp_path / "run", {**os.environ, "PYTHONPATH": str(ROOT)}
    settings = [f"--set=train.{each}" for each in ("steps=100000", "save_every=100000", "valid_every=0", "log_every=1")]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "mousai", "train", str(codec_recipe), "--out", str(run), *settings]
    with open(tmp_path / "said", "w") as said:
        launcher = subprocess.Popen([sys.executable, *launch], stdout=said, stderr=said, env=environment)
    wait_for(lambda: (run / "log.jsonl").exists())
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    wait_for(lambda: not is_locked(run / ".lock"))
    assert len(list((run / "state").iterdir())) == 1 and "(its launcher is gone)" in (tmp_path / "said").read_text()


def wait_for(happened, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.2)
