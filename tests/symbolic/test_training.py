"""Training of both parts: a kill loses nothing, options of the loop are gone from what is exported, and the ablation bench trains."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mousai
from mousai import checkpoint, config
from mousai.jobs.train import train
from mousai.launch.processes import forget

BENCH = Path(__file__).parents[2] / "tools" / "bench"
SETTINGS = {"steps": 5, "batch_size": 1, "lr": 1e-3, "valid_every": 5, "valid_batches": 1, "save_every": 2, "log_every": 1}
KILLED = """
import os, signal, sys
from mousai.jobs.train import train
from mousai.training.loop import Report
def step(self, number, *rest, before=Report.step):
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    before(self, number, *rest)
Report.step = step
train(sys.argv[1], sys.argv[2])
"""


@pytest.fixture(autouse=True)
def fresh_accelerator():
    forget()
    yield
    forget()


@pytest.fixture
def phrases_recipe(practice: Path, tiny: tuple[dict, dict], tmp_path: Path) -> Path:
    """Two stages begin in it, after a step and after three."""
    data = {"sources": [str(practice)], "pack": 256, "infilling": 1, "autoencoding": 2}
    config.write_yaml(tmp_path / "phrases.yaml", {"format": 1, "seed": 3, "phrases": tiny[0], "data": data, "train": SETTINGS})
    return tmp_path / "phrases.yaml"


@pytest.fixture
def prior_recipe(practice: Path, tiny: tuple[dict, dict], untrained: Path, tmp_path: Path) -> Path:
    data = {"sources": [str(practice)], "cache": str(tmp_path / "latents.safetensors"), "elements": 16}
    config.write_yaml(tmp_path / "prior.yaml", {"format": 1, "seed": 3, "phrases": {"path": str(untrained)}, "prior": tiny[1], "data": data, "train": SETTINGS})
    return tmp_path / "prior.yaml"


@pytest.mark.parametrize("part", ["phrases", pytest.param("prior", marks=pytest.mark.slow)])
def test_a_run_that_was_killed_equals_one_that_was_not(part: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    recipe = request.getfixturevalue(f"{part}_recipe")
    train(recipe, tmp_path / "whole")
    env = {**os.environ, "PYTHONPATH": str(Path(mousai.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", KILLED, recipe, tmp_path / "killed"], env=env, capture_output=True, timeout=600).returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "killed/state").iterdir()] == ["step-0000002"]
    train(recipe, tmp_path / "killed")
    whole, killed = (checkpoint.load_model(tmp_path / name / "model")[1] for name in ("whole", "killed"))
    assert whole.keys() == killed.keys() and all(whole[name].equal(killed[name]) for name in whole)


def test_options_of_the_loop_leave_a_plain_model_that_composes(prior_recipe: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    told = ["prior.polyphony=true", f"prior.text={{name: {tiny_encoder}, max_length: 16}}", "prior.text_features=32"]
    train(prior_recipe, tmp_path / "run", ["train.sigma_reparam=true", "train.zclip=2.5", "prior.mamba.norm_first=false", *told])
    composer = mousai.load(tmp_path / "run/model")
    assert checkpoint.load_config(tmp_path / "run/model")["licences"] == {"text": None}
    torch.nn.init.normal_(composer.prior.text[1].weight, generator=torch.Generator().manual_seed(0))
    one, other = (composer.compose(prompt, bars=8, seed=0) for prompt in ("piano", "piano dance noise"))
    assert one.num_notes > 0 and one.chords != other.chords  # words that name nothing are heard
    forget()
    with pytest.raises(ValueError, match="text_features: expected 32, as the text encoder .* has, came 31"):
        train(prior_recipe, tmp_path / "other", [*told, "prior.text_features=31"])


def test_the_ablation_bench_has_a_row_for_each_variant(prior_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    tool = importlib.import_module("ablations")
    given = [str(prior_recipe), "--out", str(tmp_path / "out"), "--seeds", "2", "--set", "train.steps=2", "--variant", "plain", "--variant", "post", "prior.mamba.norm_first=false"]
    monkeypatch.setattr(sys, "argv", ["ablations.py", *given])
    assert tool.main() == 0
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    assert [row[0].strip() for row in rows] == ["variant", "---", "plain", "post"] and not rows[2][2].strip() and float(rows[3][2].split("±")[0]) != 0
    assert tool.row_of("late", [None, {}], [])[1] == "1 of 2 came apart"
