"""A codec begins from training audio once: before the first step, in the first process, and not again in a run that goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mousai
from mousai import checkpoint, config
from mousai.codecs.dmae.mdct import MDCTDMAE
from mousai.jobs.train import train

CODEC = {
    "type": "dmae", "stereo": "mid_side", "sample_rate": 16000,
    "encoder": {"spectrum": "log_magnitude", "bottleneck": "none", "linear": "only", "multipliers": [1, 1], "factors": [2],
                "num_blocks": [0], "out_channels": 4, "n_fft": 255, "hop_length": 64},
    "unet": {"in_channels": 128, "channels": [16], "factors": [1], "items": [1], "inject_channels": [8], "modulation_features": 16},
    "transform": {"type": "mdct", "bands": 64}, "prior": {"channels": 8, "blocks": 1},
}  # fmt: skip
LAUNCH = """
import hashlib, os, sys
from mousai.codecs.dmae.mdct import MDCTDMAE
from mousai.jobs import train as job
from mousai.training.loop import Outcome
rank, calls, initialise = os.environ["RANK"], [], MDCTDMAE.initialise
MDCTDMAE.initialise = lambda self, batches: calls.append(1) or initialise(self, batches)
def run(codec, *rest, **more):
    weights = hashlib.sha256(b"".join(value.numpy().tobytes() for value in codec.state_dict().values())).hexdigest()
    os.write(1, f"{rank} {len(calls)} {bool(codec.prior.initialised)} {weights}\\n".encode())
    return Outcome(0, "signal")
job.run = run
job.train(sys.argv[1], sys.argv[2])
"""


@pytest.fixture
def recipe(codec_recipe):
    config.write_yaml(codec_recipe, {**config.read_yaml(codec_recipe), "codec": CODEC})
    return codec_recipe


def test_a_run_that_goes_on_computes_nothing_for_it(recipe, tmp_path, monkeypatch):
    calls, initialise = [], MDCTDMAE.initialise
    monkeypatch.setattr(MDCTDMAE, "initialise", lambda self, batches: calls.append(1) or initialise(self, batches))
    (tmp_path / "run/state/.step-0000001.left").mkdir(parents=True)  # of a process that was killed while it wrote
    assert train(recipe, tmp_path / "run", time_limit_minutes=1e-6).step == 1
    assert train(recipe, tmp_path / "run").step == 6 and len(calls) == 1
    train(recipe, tmp_path / "whole")
    one, other = (checkpoint.load_model(tmp_path / name / "model")[1] for name in ("run", "whole"))
    assert all((one[name] == other[name]).all() for name in other)


def test_two_processes_begin_with_the_first_one_s_weights(recipe, tmp_path):
    (tmp_path / "launch.py").write_text(LAUNCH)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", tmp_path / "launch.py"]
    env = {**os.environ, "PYTHONPATH": str(Path(mousai.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, recipe, tmp_path / "run"], env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = sorted(line.split() for line in done.stdout.splitlines())
    assert (first[:3], second[:3]) == (["0", "1", "True"], ["1", "0", "True"]) and first[3] == second[3]
