"""What is said of a model folder and of an audio file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mousai import checkpoint, config
from mousai.audio import io
from mousai.cli import main as cli
from mousai.jobs.info import describe, plot


def test_a_model(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    state = {"codec.a": torch.zeros(3, 4), "codec.b": torch.zeros(5).bfloat16(), "generator.c": torch.zeros(7), "codec.steps": torch.tensor(1)}
    checkpoint.save_model(tmp_path / "model", {"codec": {"type": "dmae"}}, state, "", shard_bytes=300)
    found = describe(tmp_path / "model")
    assert found["parameters"] == {"codec": 18, "generator": 7, "total": 25}
    assert found["stored_as"] == ["BF16", "F32", "I64"] and found["problems"] == []
    assert found["fingerprint"] == checkpoint.fingerprint(tmp_path / "model")
    assert found["config"] == {"format": 1, "codec": {"type": "dmae"}}
    with pytest.raises(SystemExit):
        cli.main(["info", str(tmp_path / "model"), "--json"])
    assert json.loads(capsys.readouterr().out) == found


def test_a_damaged_model_is_described_with_its_problems(tmp_path: Path) -> None:
    checkpoint.save_model(tmp_path / "model", {}, {"codec.a": torch.zeros(300)}, "")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    problems = describe(tmp_path / "model")["problems"]
    assert len(problems) == 2 and all("model.safetensors" in problem for problem in problems)


def test_an_audio_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.flac", np.zeros((441, 2)), 44_100)
    found = describe(tmp_path / "x.flac")
    assert (found["sample_rate"], found["channels"], found["num_samples"], found["seconds"]) == (44_100, 2, 441, 0.01)
    assert "FLAC" in found["format"] and found["chapters"] == []


def test_the_chapters_of_an_audio_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    chapters = [io.Chapter(0, "dawn"), io.Chapter(12_000, "a: “storm”")]
    io.write_blocks(tmp_path / "x.ogg", [torch.zeros(2, 24_000)], 24_000, 48_000, 2, chapters=chapters)
    found = describe(tmp_path / "x.ogg")
    assert found["chapters"] == [{"seconds": 0.0, "title": "dawn"}, {"seconds": 0.25, "title": "a: “storm”"}]
    for flags in ([], ["--json"]):
        with pytest.raises(SystemExit):
            cli.main(["info", str(tmp_path / "x.ogg"), *flags])
        assert "a: “storm”" in capsys.readouterr().out


def test_a_latent_cache(generator_recipe: Path, tmp_path: Path) -> None:
    from mousai.jobs.cache import cache

    made = cache(generator_recipe)
    found = describe(tmp_path / "cache")
    assert (found["kind"], found["items"], found["seconds"]) == ("latent cache", made.items, made.seconds)
    assert sum(found["splits"].values()) == made.items and found["made_with"]["conditioner"]["type"] == "text"


def test_a_file_of_latents(codec_folder: Path, tmp_path: Path) -> None:
    from mousai.jobs.codec import encode

    soundfile.write(tmp_path / "x.wav", np.full((1000, 2), 0.1), 16_000)
    (made,) = encode([tmp_path / "x.wav"], codec_folder, tmp_path)
    found = describe(made.path)
    assert (found["kind"], found["num_samples"], found["sample_rate"], found["frames"]) == ("latents", 1000, 16_000, made.frames)
    assert json.dumps(found)


def test_a_training_run_and_its_curves(codec_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from mousai.jobs.train import train

    run = tmp_path / "run"
    train(codec_recipe, run)
    with open(run / "log.jsonl", "a") as log:
        log.write('{"step": 7, "lo')
    found = describe(run)
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()[:-1]]
    validated = [row for row in rows if "valid/loss" in row]
    assert (found["kind"], found["trains"], found["step"], found["steps"], found["done"]) == ("training run", "codec", 6, 6, True)
    assert (found["saved_step"], found["exported_step"], found["damaged_log_lines"]) == (6, 6, 1)
    assert found["last"]["step"] == 6 and found["seconds"] > 0 and found["steps_per_second"] > 0
    assert found["last_validation"] == validated[-1] and found["best_validation"]["valid/loss"] == min(row["valid/loss"] for row in validated)
    assert found["train"]["lr"] == 1e-3 and json.dumps(found)
    kept, recipe = (run / "config.yaml").read_text(), config.read_yaml(run / "config.yaml")
    for parts, trains in (({"joint": {}}, "joint"), ({"joint": {}, "generator": {}}, "generator")):
        (run / "config.yaml").write_text(json.dumps({**recipe, **parts}))
        assert describe(run)["trains"] == trains
    (run / "config.yaml").write_text(kept)

    capsys.readouterr()
    for flags, picture in ((["--plot"], run / "curves.png"), (["--out", str(tmp_path / "mine.png")], tmp_path / "mine.png")):
        with pytest.raises(SystemExit):
            cli.main(["info", str(run), *flags, "--json"])
        assert json.loads(capsys.readouterr().out) == {**found, "curves": str(picture)} and picture.read_bytes().startswith(b"\x89PNG")


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    config.write_yaml(tmp_path / "config.yaml", {"train": {"steps": 5, "minutes": 3}})
    (tmp_path / "log.jsonl").write_text("")
    found = describe(tmp_path)
    assert (found["step"], found["steps"], found["done"], found["last"], found["seconds"]) == (0, None, False, None, None)
    with pytest.raises(ValueError, match="nothing to draw"):
        plot(tmp_path)
    with pytest.raises(ValueError, match="is no training run"):
        plot(tmp_path / "elsewhere")


def test_a_text_file_is_neither(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("words")
    with pytest.raises(ValueError, match="x.txt"):
        describe(tmp_path / "x.txt")


def test_the_licence_of_what_a_model_names_is_said(tmp_path: Path) -> None:
    assert describe("starter")["licences"] == {"conditioner": "Apache-2.0"}
    older = shutil.copytree(checkpoint.model_folder("starter"), tmp_path / "older")
    settings = config.read_yaml(older / "config.yaml")
    settings.pop("licences")
    config.write_yaml(older / "config.yaml", settings)
    assert describe(older)["licences"] == {"conditioner": "Apache-2.0"}


@pytest.mark.parametrize("text", ['{"picks": [1]}', '{"picks": 5}', '{"blend": null}', "5", "null"])
def test_an_audition_that_is_none_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "audition.json").write_text(text)
    with pytest.raises(ValueError, match=r"audition\.json: ") as error:
        describe(tmp_path)
    assert "\n" not in str(error.value)
