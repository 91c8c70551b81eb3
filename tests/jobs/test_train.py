"""Training from a recipe to a model folder: codecs on audio, generators on a cache."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from mousai import checkpoint, config
from mousai.audio import io
from mousai.jobs import train as jobs
from mousai.jobs.cache import cache
from mousai.jobs.export import export
from mousai.jobs.places import claimed
from mousai.jobs.train import train
from mousai.leftovers import host_mark
from mousai.locks import locked
from mousai.recipe import codec_fingerprint, load_part
from mousai.training import budget
from mousai.training.config import TrainConfig
from mousai.types import Condition

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def number_of_a_dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def weights(folder):
    return checkpoint.load_model(folder / "model")[1]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_codec_is_trained_stopped_taken_up_and_exported(codec_recipe, tmp_path, capsys):
    """What is exported after an interruption is what an uninterrupted run exports, to the bit."""
    assert train(codec_recipe, tmp_path / "whole").reason == "done"
    lines = capsys.readouterr().err
    assert "codec of 0.0" in lines and "3 tracks" in lines and "valid" in lines

    cut = train(codec_recipe, tmp_path / "cut", time_limit_minutes=1e-6)
    assert (cut.step, cut.reason) == (1, "time limit")
    early = weights(tmp_path / "cut")
    assert train(codec_recipe, tmp_path / "cut").step == 6
    assert equal(weights(tmp_path / "cut"), weights(tmp_path / "whole")) and not equal(early, weights(tmp_path / "whole"))

    settings = config.read_yaml(tmp_path / "whole/model/config.yaml")
    assert settings["provenance"]["step"] == 6 and settings["provenance"]["recipe"]["train"]["betas"] == [0.95, 0.999]
    assert config.read_yaml(tmp_path / "whole/config.yaml") == settings["provenance"]["recipe"]  # and it is a recipe again:
    assert train(tmp_path / "whole/config.yaml", tmp_path / "again").step == 6
    assert equal(weights(tmp_path / "again"), weights(tmp_path / "whole"))
    assert not checkpoint.verify(tmp_path / "whole/model") and "music.jsonl" in (tmp_path / "whole/model/README.md").read_text()


def test_a_run_that_is_done_is_left_alone(codec_recipe, tmp_path, capsys):
    train(codec_recipe, tmp_path / "run")
    before, state = weights(tmp_path / "run"), checkpoint.newest_state(tmp_path / "run/state")[1] / "state.safetensors"
    shutil.rmtree(tmp_path / "music")
    state.write_bytes(b"damaged")
    capsys.readouterr()
    assert train(codec_recipe, tmp_path / "run").step == 6  # neither the sources nor the state are read
    assert capsys.readouterr().err == "" and equal(weights(tmp_path / "run"), before)
    with pytest.raises((ValueError, FileNotFoundError), match="no such manifest"):
        train(codec_recipe, tmp_path / "run", ["train.steps=7"])


def test_a_run_is_done_whatever_does_not_change_it(codec_recipe, tmp_path, monkeypatch):
    train(codec_recipe, tmp_path / "run")
    monkeypatch.setattr(jobs, "train_codec", lambda *_: pytest.fail("it is done"))
    neutral = ["data.workers=1", "train.log_every=1", "train.save_every=1", "train.trackers=[tensorboard]"]
    assert train(codec_recipe, tmp_path / "run", neutral, time_limit_minutes=5.0).reason == "done"
    with pytest.raises(ValueError, match=r"by another recipe: train.lr 0.001 -> 0.1;"):
        train(codec_recipe, tmp_path / "run", [*neutral, "train.lr=0.1"])


def test_a_run_that_is_done_but_not_exported_is_only_exported(codec_recipe, tmp_path, monkeypatch):
    train(codec_recipe, tmp_path / "run")
    before = weights(tmp_path / "run")
    shutil.rmtree(tmp_path / "run/model")
    monkeypatch.setattr(jobs, "train_codec", lambda *_: pytest.fail("it is done"))
    assert train(codec_recipe, tmp_path / "run").reason == "done" and equal(weights(tmp_path / "run"), before)


def test_minutes_plan_the_run_and_its_model(codec_recipe, tmp_path, monkeypatch):
    ticks = itertools.count()
    for module in (budget, jobs):
        monkeypatch.setattr(module, "monotonic", lambda: 0.05 * next(ticks))
    outcome = train(codec_recipe, tmp_path / "run", minutes=0.1)
    stages = budget.read_plan(tmp_path / "run", TrainConfig(steps=6))
    assert outcome.reason == "done" and outcome.step == stages[-1].steps > 6
    assert stages[0].costs.finish > 0  # it was exported on the way
    made = config.read_yaml(tmp_path / "run/model/config.yaml")["provenance"]
    assert made["step"] == outcome.step and made["recipe"]["train"]["minutes"] == 0.1
    assert made["plan"] == [config.to_dict(stage) for stage in stages]
    assert train(tmp_path / "run/config.yaml", tmp_path / "run").step == outcome.step


def test_exported_latents_have_unit_variance_and_the_average_s_weights(codec_recipe, tmp_path):
    train(codec_recipe, tmp_path / "run", ["train.ema.beta=0.5"])
    codec = load_part("codec", tmp_path / "run/model")
    state = checkpoint.load_state(tmp_path / "run/state")[1]
    for name, value in codec.named_parameters():
        assert torch.equal(value, state[f"ema.model.{name}"])
    changed = [name for name, value in codec.named_parameters() if not torch.equal(value, state[f"model.model.{name}"])]
    assert len(changed) > 10  # the average is not the last step's weights
    audio = io.read(tmp_path / "music/1.wav", codec.sample_rate, 2)
    latents = codec.encode(0.1 / audio.square().mean().sqrt() * audio[None])
    assert 0.3 < float(latents.std()) < 3 and float(codec.latent_std.std()) > 0


def test_samples_are_written_as_sound_and_picture(codec_recipe, tmp_path):
    train(codec_recipe, tmp_path / "run", ["train.sample_every=6"])
    names = sorted(path.name for path in (tmp_path / "run/samples/step-0000006").iterdir())
    assert names == sorted(f"{i}-{what}.{kind}" for i in (0, 1) for what in ("original", "decoded") for kind in ("png", "wav"))
    assert io.info(tmp_path / "run/samples/step-0000006/0-decoded.wav").num_samples == 4096


def test_a_frozen_encoder_keeps_the_latents_while_the_decoder_learns(codec_recipe, tmp_path):
    train(codec_recipe, tmp_path / "one")
    train(codec_recipe, tmp_path / "two", [f"train.start_from={tmp_path / 'one/model'}", "train.freeze=[encoder]", "data.rms=0.05"])
    one, two = load_part("codec", tmp_path / "one/model"), load_part("codec", tmp_path / "two/model")
    audio = io.read(tmp_path / "music/1.wav", one.sample_rate, 2)[None]
    assert torch.equal(one.encode(audio), two.encode(audio))
    assert not equal(dict(one.unet.named_parameters()), dict(two.unet.named_parameters()))
    with pytest.raises(ValueError, match="train.freeze: no weight's name begins with 'encodr'"):
        train(codec_recipe, tmp_path / "three", ["train.freeze=[encodr]"])


def test_a_generator_is_trained_from_the_cache_alone_and_becomes_a_cascade(generator_recipe, codec_folder, tmp_path):
    cache(generator_recipe)
    shutil.rmtree(tmp_path / "music")
    assert train(generator_recipe, tmp_path / "run", ["train.sample_every=4"]).step == 4
    assert len(list((tmp_path / "run/samples/step-0000004").iterdir())) == 4
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row.get("loss", 0)) for row in rows) and any("valid/loss" in row for row in rows)

    settings, state = checkpoint.load_model(tmp_path / "run/model")
    assert {"codec", "conditioner", "generator", "provenance"} <= set(settings)
    codec = checkpoint.load_model(codec_folder)[1]
    assert equal({name: value for name, value in state.items() if name.startswith("codec.")}, codec)
    assert {name.split(".")[0] for name in state} == {"codec", "generator"}  # nothing of the text encoder
    generator = load_part("generator", tmp_path / "run/model")
    condition = Condition(torch.zeros(1, 3, 32), torch.ones(1, 3, dtype=torch.bool))
    assert generator.sample(condition, 20, seeds=[1]).shape == (1, 4, 20)


def test_the_reference_s_own_network_trains_goes_on_and_samples(generator_recipe, codec_recipe, tmp_path):
    """Its averaged weights are what is exported, and sound as they do there, not as the last step's."""
    cache(generator_recipe)
    settings = ["generator.network={type: unetv0}", "train.ema.beta=0.5"]
    train(generator_recipe, tmp_path / "run", settings, time_limit_minutes=1e-6)
    assert train(generator_recipe, tmp_path / "run", [*settings, "train.sample_every=4"]).step == 4
    assert train(generator_recipe, tmp_path / "whole", settings).step == 4 and equal(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    assert "generator.unet.net.blocks.0.weights" in weights(tmp_path / "run")
    generator = load_part("generator", tmp_path / "run/model")
    condition = Condition(torch.zeros(1, 3, 32), torch.ones(1, 3, dtype=torch.bool))
    assert generator.sample(condition, 20, seeds=[1]).isfinite().all()

    train(codec_recipe, tmp_path / "codec", ["codec.network={type: unetv0}", "train.steps=1"])
    codec = load_part("codec", tmp_path / "codec/model")
    assert codec.decode(torch.zeros(1, codec.latent_channels, 20)).shape == (1, 2, 20 * codec.hop)


def test_a_generator_refuses_another_codec_s_cache(generator_recipe, codec_folder, save_codec, tmp_path):
    cache(generator_recipe)
    save_codec(codec_folder, seed=2)
    with pytest.raises(ValueError, match=r"latent cache .* was made by codec [0-9a-f]{12}, the recipe uses [0-9a-f]{12}; run `mousai cache` again"):
        train(generator_recipe, tmp_path / "run")


def test_a_generator_that_does_not_fit_is_refused_before_the_cache(generator_recipe, tmp_path):
    for settings, message in [
        (["generator.unet.embedding_features=16"], r"conditioner: the generator expects text features of 16 \(its network's embedding_features\), this text encoder has 32; set the one, or name another encoder as conditioner.name"),
        (["generator.unet.in_channels=8"], r"generator: expected 4 latent channels \(its network's in_channels\) as the codec's, came 8"),
    ]:
        with pytest.raises(ValueError, match=message):
            cache(generator_recipe, settings)
    assert not (tmp_path / "cache").exists()


def test_a_shipped_model_is_a_codec_by_its_name():
    assert codec_fingerprint("starter") == codec_fingerprint(checkpoint.SHIPPED["starter"])
    assert not checkpoint.verify("starter")


def test_a_generator_that_does_not_fit_its_cache_is_refused_before_it_trains(generator_recipe, tmp_path):
    cache(generator_recipe)
    for settings, message in [
        (["generator.max_tokens=2"], r"latent cache .*: the generator takes 2 tokens \(its max_tokens\), conditions have up to \d+"),
        (["data.captions=2"], "was made with captions 3, the recipe has 2; run `mousai cache` again"),
        (["data.rms=0.1"], "was made with rms None, the recipe has 0.1"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(generator_recipe, tmp_path / "run", settings)


def test_wrong_input_is_one_line_and_leaves_nothing(codec_recipe, generator_recipe, tmp_path):
    (tmp_path / "file").write_text("")
    cases = [
        (codec_recipe, tmp_path / "file", [], "is a file; training needs a folder"),
        (codec_recipe, tmp_path / "run", ["train.stps=3"], "unknown key 'train.stps': did you mean 'steps'"),
        (codec_recipe, tmp_path / "run", ["data.sources=[nowhere]"], "no such data source: nowhere"),
        (codec_recipe, tmp_path / "run", ["data.split=trian"], "no usable audio for split 'trian'.*splits there: train, valid"),
        (codec_recipe, tmp_path / "run", ["train.start_from=nowhere"], "no such model folder: nowhere"),
        (generator_recipe, tmp_path / "run", [], "no latent cache in .*; run `mousai cache` first"),
        (tmp_path / "none.yaml", tmp_path / "run", [], "no such file"),
    ]  # fmt: skip
    for recipe, out, settings, message in cases:
        with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
            train(recipe, out, settings)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()
    with pytest.raises(FileNotFoundError, match="is no training run"):
        export(tmp_path / "run")


def test_a_refused_run_leaves_a_finished_one_as_it_was(codec_recipe, tmp_path):
    train(codec_recipe, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for settings, message in [
        (["seed=6"], r"run is done at step 6, by another recipe: seed 5 -> 6; name another folder, or a larger train.steps"),
        (["seed=6", "train.steps=3"], r"seed 5 -> 6, train.steps 6 -> 3"),
        (["data.sources=[nowhere]", "train.steps=9"], "no such data source: nowhere"),
        (["codec.unet.channels=[16, 32]", "train.steps=9"], "this training state is of another model"),
        (["train.start_from=nowhere", "train.steps=9"], "no such model folder: nowhere"),
    ]:
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            train(codec_recipe, tmp_path / "run", settings)
        assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    export(tmp_path / "run")
    assert train(codec_recipe, tmp_path / "run", ["seed=6", "train.steps=9"]).step == 9  # there is something to do: it goes on


def test_two_cannot_train_in_one_folder(codec_recipe, tmp_path):
    with locked(tmp_path / "run/.lock"):
        with pytest.raises(ValueError, match=rf"run: another process \({os.getpid()} on .*\) trains there; wait for it"):
            train(codec_recipe, tmp_path / "run")
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    train(codec_recipe, tmp_path / "run")
    assert not (tmp_path / "run/.lock").exists()


def test_a_run_that_ended_while_another_began_is_not_taken_for_another_recipe_s(codec_recipe, tmp_path, monkeypatch):
    train(codec_recipe, tmp_path / "other")

    @contextmanager
    def claimed_late(folder, doing):
        shutil.copytree(tmp_path / "other", folder)
        with claimed(folder, doing):
            yield

    monkeypatch.setattr(jobs, "claimed", claimed_late)
    with pytest.raises(ValueError, match="run is done at step 6, by another recipe: seed 5 -> 6"):
        train(codec_recipe, tmp_path / "run", ["seed=6"])
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "other"))


def test_what_killed_commands_left_is_swept_before_training(codec_recipe, tmp_path, number_of_a_dead_process):
    train(codec_recipe, tmp_path / "run")
    left = [f".{name}.tmp-{host_mark()}-{number_of_a_dead_process:x}-0123ab" for name in ("model", "config.yaml")] + [".config.yaml.ab_12cd3"]
    alive = tmp_path / f"run/.model.tmp-{host_mark()}-{os.getppid():x}-0123ab"
    for name in left:
        (tmp_path / "run" / name).mkdir()
    alive.mkdir()
    shutil.copytree(tmp_path / "run/state/step-0000006", tmp_path / "run/state/step-0000003")
    with locked(tmp_path / "run/.lock"), pytest.raises(ValueError, match="trains there"):
        train(codec_recipe, tmp_path / "run")
    assert (tmp_path / "run/state/step-0000003").exists()  # nobody tidies what another process works on
    train(codec_recipe, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run/state").iterdir()] == ["step-0000006"]
    train(codec_recipe, tmp_path / "run", ["train.steps=7"])
    assert alive.exists() and not any((tmp_path / "run" / name).exists() for name in left)


def test_a_full_disk_is_one_line_that_says_what_is_kept(codec_recipe, tmp_path):
    program = """if True:
        import os, resource, signal, sys
        from mousai.cli.main import main
        from mousai.training import state
        save = state.TrainingState.save
        def save_what_fits(self, step, meta):
            if step > 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
            return save(self, step, meta)
        state.TrainingState.save = save_what_fits
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        main(["train", *sys.argv[1:]])"""
    done = subprocess.run([sys.executable, "-c", program, codec_recipe, "--out", tmp_path / "run"], capture_output=True, text=True, cwd=ROOT)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("mousai: ")]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.fullmatch(r"mousai: cannot write .*state\.safetensors: .*; the state of step 3 in .*/state is kept, the same command goes on from there", line)
    assert [path.name for path in (tmp_path / "run/state").iterdir()] == ["step-0000003"] and not (tmp_path / "run/.lock").exists()
    assert train(codec_recipe, tmp_path / "run").step == 6
