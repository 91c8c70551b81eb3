"""The loop against a plain one, its schedule in closed form, and what it does when something happens."""

import copy
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import nn

import mousai
from mousai import checkpoint
from mousai.data.loader import batches
from mousai.randomness import generator_of, seed_of
from mousai.training import loop
from mousai.training.config import TrainConfig
from mousai.training.ema import EmaConfig
from mousai.training.loop import NonFiniteLoss, accelerator_for, learning_rate

ROOT = Path(mousai.__file__).parents[1]
SCRIPT = Path(__file__).with_name("run_tiny.py")
_spec = importlib.util.spec_from_file_location("run_tiny", SCRIPT)
run_tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run_tiny)
main = run_tiny.main


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: what it reports, and its state."""
    folder = tmp_path_factory.mktemp("whole")
    AcceleratorState._reset_state(reset_partial_state=True)
    return main(folder), state_of(folder)


def state_of(folder):
    (path,) = (Path(folder) / "state").iterdir()
    return load_file(path / "state.safetensors")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def start(*arguments, launch=()):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *launch, str(SCRIPT), *map(str, arguments)], env=env, capture_output=True, text=True, timeout=900)


def launch_file(name):
    return ["-m", "accelerate.commands.launch", "--config_file", str(ROOT / "recipes/accelerate" / name), "--num_processes", "2"]


class Affine(nn.Module):
    """Two layers, no noise; the loss of a batch is the mean over its items."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4))

    def loss(self, data):
        return (self.net(data) - data.flip(-1)).square().mean(), {}


class Rows(torch.utils.data.Dataset):
    def __getitem__(self, index):
        return {"data": torch.randn(4, generator=generator_of((index,)))}


def affine(folder, model, **settings):
    setting = TrainConfig(**{"steps": 6, "batch_size": 4, "lr": 1e-2, "valid_every": 0, "clip": 0.0} | settings)
    rows = Rows()
    loop.train(
        model, lambda model, batch, generator: model.loss(batch["data"]), lambda first: batches(rows, setting.batch_size, first),
        setting, folder, accelerator_for(setting, folder),
    )  # fmt: skip


def test_equals_a_plain_loop_with_its_average(tmp_path):
    torch.manual_seed(0)
    model = Affine()
    plain = copy.deepcopy(model)
    affine(tmp_path, model, clip=0.5, weight_decay=0.1, ema=EmaConfig(beta=0.7, power=0.7))

    optimizer = torch.optim.AdamW(plain.parameters(), 1e-2, betas=(0.95, 0.999), eps=1e-6, weight_decay=0.1)
    average, stream = None, batches(Rows(), 4)
    for step in range(6):
        optimizer.zero_grad()
        plain.loss(next(stream)["data"])[0].backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        decay = min(0.7, 1 - (1 + max(0, step)) ** -0.7)
        now = [p.detach().clone() for p in plain.parameters()]
        average = now if average is None or step == 0 else [decay * a + (1 - decay) * p for a, p in zip(average, now)]

    for ours, theirs in zip(model.parameters(), plain.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    kept = {name.removeprefix("ema.model."): value for name, value in state_of(tmp_path).items() if name.startswith("ema.")}
    for (name, _), value in zip(plain.named_parameters(), average):
        torch.testing.assert_close(kept[name], value)


def test_accumulation_equals_a_larger_batch(tmp_path):
    torch.manual_seed(0)
    one = Affine()
    two = copy.deepcopy(one)
    affine(tmp_path / "one", one, batch_size=4)
    affine(tmp_path / "two", two, batch_size=1, accumulate=4)
    for a, b in zip(one.parameters(), two.parameters()):
        torch.testing.assert_close(a, b)


def test_learning_rate_rises_rests_and_falls():
    setting = TrainConfig(steps=100, lr=2.0, warmup_steps=10, decay_steps=20, final_lr=0.25)
    rates = [learning_rate(setting, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == pytest.approx(2.0)
    assert rates[10:80] == [2.0] * 70
    assert rates[89] == pytest.approx(2.0 * (0.25 + 0.75 * 0.5)) and rates[99] == pytest.approx(0.5)
    whole = TrainConfig(steps=100, lr=1.0, final_lr=0.0)
    assert learning_rate(whole, 49) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))
    assert learning_rate(TrainConfig(steps=5, lr=3.0), 4) == 3.0


def test_validation_loss_falls(tmp_path):
    main(tmp_path, "steps=300", "valid_every=30", "lr=0.02", "log_every=1000")
    losses = [row["valid/loss"] for row in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines()) if "valid/loss" in row]
    assert len(losses) == 10 and losses[-1] < 0.25 * losses[0]


def test_sigterm_saves_and_the_same_call_goes_on_to_the_same_bits(tmp_path, whole, capsys):
    before = signal.getsignal(signal.SIGTERM)
    first = main(tmp_path, faults={11: "SIGTERM"})
    assert (first["step"], first["reason"]) == (12, "signal")  # the step that it was in is finished
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step-0000012"]
    assert "SIGTERM" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
    second = main(tmp_path, faults={20: "SIGINT"})
    assert (second["step"], second["reason"]) == (21, "signal")
    third = main(tmp_path)
    assert third["items"] == list(range(42, 60))
    assert third["weights"] == whole[0]["weights"]
    assert equal(state_of(tmp_path), whole[1])


def test_sigkill_loses_only_what_came_after_the_last_save(tmp_path, whole):
    killed = start(tmp_path, "17:SIGKILL")
    assert killed.returncode == -signal.SIGKILL and not killed.stdout
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step-0000014"]
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"step": 17, "loss": 9}\n{"step": 1')  # of steps that come again; the last line was cut by the kill
    again = main(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [10, 20, 30] and all(row.get("loss") != 9 for row in rows)
    assert again["items"][0] == 28 and again["weights"] == whole[0]["weights"]
    assert equal(state_of(tmp_path), whole[1])


def test_time_limit_saves_and_ends(tmp_path):
    outcome = main(tmp_path, "time_limit_minutes=1e-6")
    assert (outcome["step"], outcome["reason"]) == (1, "time limit")
    assert (tmp_path / "state" / "step-0000001").is_dir()


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(tmp_path):
    with pytest.raises(NonFiniteLoss, match=r"step 16: the loss is .*step 14 in .*same command again") as caught:
        main(tmp_path, faults={16: "poison"})
    assert "\n" not in str(caught.value)
    state = state_of(tmp_path)
    assert all(value.isfinite().all() for value in state.values())
    assert main(tmp_path)["step"] == 30  # without the poison it goes on


@pytest.mark.parametrize("launched", ["fp16", "fp8"])
def test_a_precision_that_is_not_trained_in_is_refused(tmp_path, monkeypatch, launched):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    with pytest.raises(ValueError, match=f"the launcher asks for {launched}; training is done in fp32 or bf16"):
        main(tmp_path, "steps=1")
    assert main(tmp_path, "steps=1", "precision=fp32")["step"] == 1


def test_a_state_is_finite_or_not_written(tmp_path):
    main(tmp_path, "steps=7")
    with pytest.raises(ValueError, match="step 8: .* holds what is no number any more; the state of step 7 in .* is kept: lower train.lr"):
        main(tmp_path, "weight_decay=1e300", "save_every=1")
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step-0000007"]
    for wrong in ("final_lr=.inf", "weight_decay=.inf", "clip=.nan", "ema.power=.inf"):
        with pytest.raises(ValueError, match="expected a finite number, came"):
            main(tmp_path, wrong)


def test_a_run_goes_on_by_the_recipe_s_settings(tmp_path):
    """Not by those that its state was made with."""
    main(tmp_path / "one", "steps=7")
    main(tmp_path / "two", "steps=7")
    main(tmp_path / "one", "steps=8", "betas=[0.5, 0.5]")
    main(tmp_path / "two", "steps=8")
    assert not equal(state_of(tmp_path / "one"), state_of(tmp_path / "two"))
    group = checkpoint.load_state(tmp_path / "one/state")[2]["optimizer"][0]
    assert group["betas"] == [0.5, 0.5]


def test_a_state_of_another_model_is_refused_in_one_line(tmp_path):
    affine(tmp_path, Affine())
    with pytest.raises(ValueError, match="another model: model.*recipe that it was made with") as caught:
        main(tmp_path)
    assert "\n" not in str(caught.value)


def test_two_processes_are_two_see_different_data_and_agree(tmp_path, whole):
    """DDP and FSDP over gloo from their launch files; a state is taken up by another number of processes, and a plan is one for all."""
    main(tmp_path / "grown", faults={9: "SIGTERM"})
    runs = [tmp_path / "ddp", "--", tmp_path / "grown", "shard=true", "steps=12", "--", tmp_path / "planned", "minutes=0.05"]
    copies = start(*runs, launch=launch_file("cpu.yaml"))
    shards = start(tmp_path / "fsdp", "precision=fp32", launch=launch_file("fsdp.yaml"))
    assert copies.returncode == shards.returncode == 0, copies.stderr[-2000:] + shards.stderr[-2000:]
    seen = [[json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")] for done in (copies, shards)]
    (ddp, grown, planned), (fsdp,) = (zip(*([one for one in runs if one["rank"] == rank] for rank in (0, 1)), strict=True) for runs in seen)
    assert all(one["processes"] == 2 for runs in seen for one in runs) and planned[0]["step"] == planned[1]["step"]
    assert [(pair[0]["step"], bool(pair[0]["sharded"])) for pair in (ddp, fsdp, grown)] == [(30, False), (30, True), (12, True)]
    for pair in (ddp, fsdp, grown, planned):
        assert pair[0]["weights"] == pair[1]["weights"]
        assert not set(pair[0]["items"]) & set(pair[1]["items"])
    assert sorted(ddp[0]["items"] + ddp[1]["items"]) == list(range(120))
    assert sorted(grown[0]["items"] + grown[1]["items"]) == list(range(40, 48))
    assert fsdp[0]["sharded"] == 6
    one, other = state_of(tmp_path / "ddp"), state_of(tmp_path / "fsdp")
    assert one.keys() == other.keys() == whole[1].keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-6)
    assert main(tmp_path / "fsdp", "steps=31")["step"] == 31


def test_the_unet_is_split_by_its_items(tmp_path):
    runs = [tmp_path / "ddp", "unet", "steps=3", "precision=fp32", "shard=false"], [tmp_path / "fsdp", "unet", "steps=3", "shard=true"]
    done = start(*runs[0], "--", *runs[1], launch=launch_file("cpu.yaml"))
    assert done.returncode == 0, done.stderr[-2000:]
    seen = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert sorted(one["blocks"] for one in seen) == [0, 0, 6, 6]
    one, other = state_of(tmp_path / "ddp"), state_of(tmp_path / "fsdp")
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-6)


def test_sharding_needs_processes(tmp_path):
    with pytest.raises(ValueError, match="one process, nothing to split over"):
        main(tmp_path, "shard=true")


def test_bf16_computes_in_bf16_and_keeps_weights_in_fp32(tmp_path):
    seen = set()

    class Watched(Affine):
        def loss(self, data):
            out = self.net(data)
            seen.add(out.dtype)
            return (out.float() - data).square().mean(), {}

    model = Watched()
    affine(tmp_path, model, precision="bf16")
    assert seen == {torch.bfloat16} and {p.dtype for p in model.parameters()} == {torch.float32}


def test_trackers_get_scalars_sound_and_pictures(tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    calls = []

    def sample(model, step):
        calls.append((type(model).__name__, model.training, step))
        return {"sound": (torch.zeros(2, 480), 48000), "picture": torch.zeros(4, 5, 3, dtype=torch.uint8).numpy()}

    main(tmp_path, "steps=4", "sample_every=2", "log_every=1", "valid_every=4", "trackers=[tensorboard]", sample=sample)
    assert calls == [("Denoiser", False, 2), ("Denoiser", False, 4)]
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    tags = events.Tags()
    assert {"loss", "rms", "lr", "gradient_norm", "valid/loss"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]
    assert [event.step for event in events.Audio("sound")] == [2, 4] and tags["images"] == ["picture"]
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("step 2/4  loss ") and "steps/s" in line and "left 0:00:0" in line for line in lines)


def test_validation_is_the_same_for_the_same_weights_and_changes_nothing(tmp_path, whole):
    main(tmp_path, "valid_every=0")
    assert equal(state_of(tmp_path), whole[1])
    model, batch = run_tiny.Denoiser(), {"data": torch.ones(2, run_tiny.WIDTH)}
    module = loop.LossOf(model, lambda model, batch, generator: model.loss(batch["data"], generator))
    accelerator = accelerator_for(TrainConfig(steps=1), tmp_path)
    one, two = (loop.validation_loss(module, [batch, batch], accelerator, seed) for seed in (3, 3))
    assert one == two and one != loop.validation_loss(module, [batch, batch], accelerator, 5)


@pytest.mark.parametrize("wrong", [
    {"steps": 0}, {"batch_size": 0}, {"lr": -1.0}, {"lr": math.nan}, {"betas": (0.9, 1.0)}, {"clip": -1.0}, {"time_limit_minutes": 0.0},
    {"decay_steps": 0}, {"warmup_steps": -1}, {"save_every": 0},
])  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig(**{"steps": 1} | wrong)


def test_seeds_of_near_keys_differ():
    seeds = {seed_of(a, b, c) for a in range(4) for b in range(4) for c in range(4)}
    assert len(seeds) == 64 and seed_of(1, 23) != seed_of(12, 3) and seed_of(1, 2) == seed_of(1, 2)
