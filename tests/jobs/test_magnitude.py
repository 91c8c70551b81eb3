"""The magnitude codec through the jobs: trained, stopped, taken up and exported; a generator on its latents."""

import torch

import mousai
from mousai import checkpoint, config
from mousai.jobs.cache import cache
from mousai.jobs.train import train
from mousai.recipe import codec_fingerprint

CODEC = {
    "type": "magnitude", "sample_rate": 8000, "train_frames": 8,
    "features": {"n_fft": 256, "hop": 64, "groups": [[32, 1], [16, 2], [16, 4]], "fast_n_fft": 128, "fast_hop": 32, "bands": 6},
    "components": {"block": 4, "count": 4, "smoothing": 5},
    "reader": {"channels": 16, "blocks": 1, "features": 8},
    "unet": {"channels": [8, 8, 8, 8], "blocks": [1, 1, 1, 1], "patch": 2, "embedding": 16},
    "decode": {"steps": 2, "griffin_lim": 2, "stride_frames": 16, "context_frames": 4},
}  # fmt: skip


def recipe_of(tmp_path, music):
    recipe = {
        "format": 1, "seed": 5, "codec": CODEC,
        "data": {"sources": [str(music)], "crop_samples": 8192, "rms": 0.1, "pool": "ram"},
        "train": {"steps": 4, "batch_size": 2, "lr": 1e-3, "log_every": 2, "save_every": 2, "valid_every": 2, "valid_batches": 1},
    }  # fmt: skip
    config.write_yaml(tmp_path / "magnitude.yaml", recipe)
    return tmp_path / "magnitude.yaml"


def test_a_run_that_was_stopped_equals_one_that_was_not(tmp_path, music):
    recipe = recipe_of(tmp_path, music)
    train(recipe, tmp_path / "whole")
    assert train(recipe, tmp_path / "cut", time_limit_minutes=1e-6).step == 1
    early = codec_fingerprint(tmp_path / "cut/model")
    assert train(recipe, tmp_path / "cut").step == 4
    whole, cut = (checkpoint.load_model(tmp_path / name / "model")[1] for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)
    assert codec_fingerprint(tmp_path / "whole/model") == early  # a cache outlives training


def test_a_generator_is_trained_on_its_latents(tmp_path, music, generator_recipe):
    train(recipe_of(tmp_path, music), tmp_path / "run")
    overrides = [f"codec.path={tmp_path / 'run/model'}", "data.crop_frames=16"]
    cache(generator_recipe, overrides)
    train(generator_recipe, tmp_path / "generator", overrides)
    audio = mousai.load(tmp_path / "generator/model", device="cpu").generate("calm piano", seconds=1.3, seed=3)
    assert audio.shape[-1] == round(1.3 * 8000) and audio.isfinite().all() and audio.abs().max() > 0
