"""Recipes: strict, resolved, and parts that are built and loaded by name."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mousai import checkpoint, config, recipe
from mousai.data.latents import LatentDataConfig
from mousai.data.loader import AudioDataConfig, SourceConfig
from mousai.recipe import Folder, Part, load_part, load_recipe, recipe_from

CODEC = {
    "type": "dmae",
    "encoder": {"channels": 16, "multipliers": [1, 1], "factors": [2], "num_blocks": [1], "out_channels": 4, "n_fft": 127, "hop_length": 32},
    "unet": {"in_channels": 64, "channels": [16, 16], "factors": [1, 2], "items": [1, 1], "inject_channels": [4, 0], "modulation_features": 16},
    "transform": {"type": "learned", "bands": 32, "window_length": 64, "stride": 64},
}  # fmt: skip
GENERATOR = {
    "type": "latent_diffusion",
    "unet": {"in_channels": 4, "channels": [16], "factors": [1], "items": [1], "cross_attentions": [1], "embedding_features": 8},
}
TRAIN = {"steps": 10}
CODEC_RECIPE = {"format": 1, "codec": CODEC, "data": {"sources": ["music"]}, "train": TRAIN}
GENERATOR_RECIPE = {
    "format": 1, "codec": {"path": "runs/codec/model"}, "conditioner": {"type": "text"}, "generator": GENERATOR,
    "data": {"sources": [{"spec": "music", "weight": 2}], "cache": "runs/cache"}, "train": TRAIN,
}  # fmt: skip


def changed(data, *assignments):
    return config.override(data, assignments)


def test_a_recipe_of_a_codec_and_one_of_a_generator():
    codec, generator = recipe_from(CODEC_RECIPE), recipe_from(GENERATOR_RECIPE)
    assert isinstance(codec.codec, Part) and isinstance(codec.data, AudioDataConfig) and codec.generator is None
    assert generator.codec == Folder("runs/codec/model") and isinstance(generator.data, LatentDataConfig)
    assert generator.data.sources == (SourceConfig("music", 2.0),) and generator.conditioner.config.max_length == 64


@pytest.mark.parametrize("data", [CODEC_RECIPE, GENERATOR_RECIPE])
def test_what_is_saved_is_the_same_recipe_again(data, tmp_path):
    one = recipe_from(data)
    config.write_yaml(tmp_path / "r.yaml", one.to_dict())
    assert load_recipe(tmp_path / "r.yaml") == one
    assert load_recipe(tmp_path / "r.yaml", ["seed=7", "train.lr=3e-4"]).seed == 7
    assert one.to_dict()["train"]["lr"] == 1e-4  # defaults are written out


@pytest.mark.parametrize(
    "wrong, message",
    [
        (changed(CODEC_RECIPE, "trian.steps=1"), "r.yaml: unknown key 'trian': did you mean 'train'"),
        (changed(CODEC_RECIPE, "train.stepz=1"), "r.yaml: unknown key 'train.stepz': did you mean 'steps'"),
        (changed(CODEC_RECIPE, "codec.unet.chanels=[1]"), "unknown key 'codec.unet.chanels': did you mean 'channels'"),
        (changed(CODEC_RECIPE, "codec.type=dmea"), "codec.type: expected one of dmae, dmae_waveform, dmae_mdct, magnitude, oobleck, same, or package.module:Class; came 'dmea', did you mean 'dmae'?"),
        (changed(CODEC_RECIPE, "codec.band_groups=4"), "unknown key 'codec.band_groups'"),
        (changed(CODEC_RECIPE, "codec.prior={}"), "codec: transform.type: expected mdct, to which the prior belongs, came 'learned'"),
        (changed(CODEC_RECIPE, "codec.transform={type: mdct}"), "codec: missing key 'prior'"),
        (changed(CODEC_RECIPE, "codec=dmae"), "codec: expected a mapping with a type, one of dmae_waveform, dmae_mdct, magnitude"),
        (changed(CODEC_RECIPE, "train.steps=many"), r"train.steps: expected a whole number, came 'many' \(str\)"),
        (changed(CODEC_RECIPE, "train.steps=0"), "train: steps: expected at least 1, came 0"),
        (changed(CODEC_RECIPE, "data.pool=disk"), "data.pool: expected"),
        (changed(CODEC_RECIPE, "format=2"), "expected format: 1, came 2; it needs another version of mousai"),
        (changed(CODEC_RECIPE, "seed=-1"), "seed: expected a whole number from 0 on, came -1"),
        ({key: CODEC_RECIPE[key] for key in ("format", "codec", "data")}, "missing key 'train'"),
        (changed(CODEC_RECIPE, "codec={path: x}"), "nothing to train"),
        ({**GENERATOR_RECIPE, "codec": CODEC}, "a generator needs a trained codec; expected {path: model folder}"),
        ({key: value for key, value in GENERATOR_RECIPE.items() if key != "conditioner"}, "expected both conditioner and generator"),
        (changed(GENERATOR_RECIPE, "codec.pth=x"), "unknown key 'codec.pth': did you mean 'path'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(wrong, message, tmp_path):
    config.write_yaml(tmp_path / "r.yaml", wrong)
    with pytest.raises(ValueError, match=message) as caught:
        load_recipe(tmp_path / "r.yaml")
    assert "\n" not in str(caught.value)


def test_one_name_for_both_diffusion_autoencoders_is_told_apart_by_what_it_says(tiny_cascade):
    """And what is written down of a waveform's codec by the name of both has settings of the other, which say nothing."""
    old = {**CODEC, "prior": None, "band_weights": "flat", "band_groups": 1, "decode": {"steps": 3, "griffin_lim": 0, "start": 1.0}}
    part = recipe.part_from("codec", old)
    assert type(part.build()).__name__ == "WaveformDMAE" and part.config.decode.steps == 3
    assert part.to_dict()["type"] == "dmae" and "prior" not in part.to_dict()
    of_mdct = checkpoint.load_config(tiny_cascade)["codec"]
    part = recipe.part_from("codec", of_mdct)
    assert type(part.build()).__name__ == "MDCTDMAE" and part.to_dict()["type"] == "dmae"
    assert recipe.part_from("codec", {**of_mdct, "type": "dmae_mdct"}).config == part.config


def test_caches_of_the_shipped_codec_stay_good():
    assert recipe.codec_fingerprint(checkpoint.model_folder("starter")) == "34208c92f829"


def test_first_weights_follow_from_the_seed_alone():
    part = recipe_from(CODEC_RECIPE).codec
    before = torch.random.get_rng_state()
    one, same, other = part.build(3), part.build(3), part.build(4)
    assert torch.equal(torch.random.get_rng_state(), before)
    for (name, a), b, c in zip(one.named_parameters(), same.parameters(), other.parameters()):
        assert torch.equal(a, b)
        if name.startswith("unet") and a.ndim > 1 and a.std() > 0:
            assert not torch.equal(a, c)


def test_parts_of_a_model_folder_come_back(tmp_path):
    part = recipe_from(CODEC_RECIPE).codec
    module = part.build(1)
    state = {f"codec.{name}": value for name, value in module.state_dict().items()}
    checkpoint.save_model(tmp_path / "m", {"codec": part.to_dict()}, state, "# m")
    again = load_part("codec", tmp_path / "m")
    assert not again.training and all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters()))
    with pytest.raises(ValueError, match="this model folder has no generator; it has codec"):
        load_part("generator", tmp_path / "m")

    checkpoint.save_model(tmp_path / "cut", {"codec": part.to_dict()}, dict(list(state.items())[:-2]), "# m")
    with pytest.raises(ValueError, match="codec: the weights do not fit the config: 2 missing"):
        load_part("codec", tmp_path / "cut")
    wider = config.override({"codec": part.to_dict()}, ["codec.encoder.channels=32"])
    checkpoint.save_model(tmp_path / "wide", wider, state, "# m")
    with pytest.raises(ValueError, match="of another shape") as caught:
        load_part("codec", tmp_path / "wide")
    assert "\n" not in str(caught.value)


def test_a_codec_s_recipe_loads_no_text_encoder():
    """Their libraries take seconds to import."""
    program = f"import sys; from mousai.recipe import recipe_from; recipe_from({CODEC_RECIPE!r}).codec; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(recipe.__file__).parents[1])
    assert done.stdout.strip() == "False", done.stderr
