"""The contracts of types.py are the whole truth: parts that follow them and nothing else do all that mousai's own do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mousai
from mousai.audio import io
from mousai.cli.main import main
from mousai.jobs.info import describe
from mousai.request.piece import Piece, Section
from mousai.types import Codec, Conditioner, Generator

RATE = 48_000


def cli(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def attributes(protocol: type) -> set[str]:
    """What a contract promises: annotations and functions."""
    return {*protocol.__annotations__, *(name for name, value in vars(protocol).items() if callable(value) and not name.startswith("_"))}


def test_the_parts_have_what_the_contracts_say(system):
    for part, protocol in ((system.codec, Codec), (system.conditioner, Conditioner), (system.generator, Generator)):
        assert {name for name in attributes(protocol) if not hasattr(part, name)} == set()


def test_a_model_of_strangers_is_loaded_only_where_it_is_trusted(run):
    with pytest.raises(ValueError, match="codec.type: parts:Blocks is no part of mousai, loading it runs its code; .*--trust"):
        mousai.load(run / "model", "cpu")
    assert cli("generate", "calm", "--model", run / "model") == 2


def test_clips_follow_from_prompt_and_seed_alone(system):
    clips = system.generate(["slow piano", "calm"], 0.5, seed=3)
    assert clips.shape == (2, 2, RATE // 2) and clips.isfinite().all() and clips.std() > 1e-4
    torch.testing.assert_close(clips[1:], system.generate("calm", 0.5, seed=4), atol=1e-5, rtol=1e-4)
    assert not torch.equal(system.generate("slow piano", 0.5, seed=4), clips[1:])


def test_every_sampler_of_a_generator_samples_it(system):
    steps = {} if system.generator.sampling.steps is None else {"steps": 3}
    for sampler in system.generator.samplers:
        assert system.generate("calm", 0.2, sampler=sampler, **steps).isfinite().all()
    lacks = {"ddim", "dpmpp_2m", "euler", "midpoint", "heun"} - {*system.generator.samplers}
    for sampler in lacks:
        with pytest.raises(ValueError, match=f"sampler: this model is sampled by .*; came '{sampler}'"):
            system.generate("calm", 0.2, sampler=sampler)


def test_a_setting_that_a_generator_has_not_is_refused(system):
    for name, value in {"steps": 3, "guidance": 2.0, "eta": 0.5, "rescale": 0.5}.items():
        if getattr(system.generator.sampling, name) is None:
            with pytest.raises(ValueError, match=f"^{name}: this model has no such setting; leave it away"):
                system.generate("calm", 0.2, **{name: value})


def test_recordings_are_varied_and_mended(system):
    take = 0.1 * torch.sin(2 * torch.pi * 220 * torch.arange(RATE) / RATE).expand(2, -1)
    assert system.generate("calm", init=take, strength=0.5).shape == (1, 2, RATE)
    mended = system.generate("calm", inpaint=take, span=(0.4, 0.6))[0]
    assert torch.equal(mended[:, : int(0.4 * RATE)], take[:, : int(0.4 * RATE)]) and torch.equal(mended[:, int(0.6 * RATE) :], take[:, int(0.6 * RATE) :])


@pytest.mark.parametrize("method", ["joint", "continuation"])
def test_long_pieces_are_rendered(system, method):
    piece = Piece([Section("slow piano", 3.0), Section("calm", 3.0)], window=1.0, overlap=0.25, method=method)
    audio = torch.cat(list(system.render(piece)), -1)
    assert audio.shape == (2, 6 * RATE) and audio.isfinite().all() and audio.std() > 1e-4


def test_files_are_made_described_and_made_again(run, tmp_path, capsys):
    model = ("--model", run / "model", "--trust")
    assert cli("generate", "slow piano", "--seconds", 1, "--out", tmp_path / "clip.wav", *model) == 0
    assert cli("render", "slow piano", "--seconds", 16, "--loop", "--out", tmp_path / "loop.wav", "--loudness", "none", *model) == 0
    for name in ("clip", "loop"):
        capsys.readouterr()
        assert cli("replay", tmp_path / f"{name}.wav", "--json", *model) == 0
        assert json.loads(capsys.readouterr().out)["same"]
    assert io.read_metadata(tmp_path / "clip.wav")["prompt"] == "slow piano"
    assert cli("encode", tmp_path / "clip.wav", "--out", tmp_path / "clip.safetensors", *model) == 0
    assert cli("decode", tmp_path / "clip.safetensors", "--out", tmp_path / "again.wav", *model) == 0
    assert io.info(tmp_path / "again.wav").num_samples == RATE


def test_info_needs_no_trust(run):
    described = describe(run / "model")
    assert described["problems"] == [] and described["config"]["codec"]["type"] == "parts:Blocks"
    assert described["parameters"].keys() >= {"codec", "generator"} and described["licences"] == {"conditioner": "MIT"}


def test_the_cache_keeps_the_vectors(run):
    from mousai import config
    from mousai.data.cache import CacheReader, read_items

    folder = Path(config.read_yaml(run / "config.yaml")["data"]["cache"])
    item = read_items(folder)[0]
    assert CacheReader(folder).condition(item, 0)["vectors.words"].shape == (16,)


def test_a_class_that_is_not_there_is_said_in_one_line(tmp_path, monkeypatch):
    from mousai.recipe import recipe_from

    (tmp_path / "broken.py").write_text("class Codec(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = {"format": 1, "data": {"sources": ["x"]}, "train": {"steps": 1}}
    for name, message in (
        ("nowhere_at_all:Codec", "codec.type: nowhere_at_all:Codec cannot be imported"),
        ("parts:Lumps", "codec.type: the module parts has no class Lumps"),
        ("known:torch", "codec.type: the module known has no class torch"),
        ("collections:OrderedDict", "codec.type: expected OrderedDict.__init__"),
        ("Blocks", "codec.type: expected one of"),
        ("broken:Codec", "codec.type: broken:Codec cannot be imported .SyntaxError"),
    ):
        with pytest.raises(ValueError, match=f"^recipe: {message}"):
            recipe_from({**recipe, "codec": {"type": name}}, trust=True)
    with pytest.raises(ValueError, match="unknown key 'codec.hopp': did you mean 'hop'"):
        recipe_from({**recipe, "codec": {"type": "parts:Blocks", "hopp": 3}}, trust=True)


def test_a_run_of_strangers_is_not_exported_without_trust(run, tmp_path):
    from mousai.jobs.export import export

    with pytest.raises(ValueError, match="is no part of mousai, loading it runs its code"):
        export(run)


def test_trust_stands_before_two_dashes(run):
    assert cli("generate", "--model", run / "model", "--", "--trust") == 2


def test_trust_of_one_is_not_that_of_the_next(run):
    program = f"import mousai; mousai.load({str(run / 'model')!r}, 'cpu', trust=True); mousai.load({str(run / 'model')!r}, 'cpu')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == 1 and "--trust" in done.stderr
