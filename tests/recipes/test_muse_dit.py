"""MUSE's second stage has the published size, and its parts train, are exported and make music over any codec."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import torch

pytest.importorskip("diffusers", reason="the extra 'diffusers' is not installed")

from mousai.pipelines.cascade import load_codec  # noqa: E402
from mousai.audio import io  # noqa: E402
from mousai.recipe import load_recipe  # noqa: E402

ROOT = Path(__file__).parents[2]


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_size():
    recipe = load_recipe(ROOT / "recipes" / "muse" / "muse-dit-1b.yaml")
    with torch.device("meta"):
        generator = recipe.generator.build()
    assert size(generator.network) == 1_055_169_664
    assert recipe.generator.config.drop == 0.3 and recipe.generator.config.vector.tokens >= 4
    assert generator.frame_seconds == 2048 / 44100 and generator.config.stable_audio.frames * generator.frame_seconds > 47
    assert generator.accepts.tokens == 0 and dict(generator.accepts.vectors) == {"music": 512} and "seconds" in generator.accepts.numbers


def test_the_small_one_fits_the_shipped_codec_and_joint_encoder():
    from mousai.pipelines.system import check_parts

    recipe = load_recipe(ROOT / "recipes" / "muse" / "muse-dit-small.yaml")
    codec, _ = load_codec("starter", "cpu")
    check_parts(recipe.generator.build(0), codec, recipe.conditioner.build())


def test_it_trains_over_a_released_autoencoder_and_what_it_makes_says_so(tmp_path, tiny_encoder):
    from diffusers import AutoencoderOobleck

    from mousai.jobs.cache import cache
    from mousai.jobs.generate import generate
    from mousai.jobs.info import describe
    from mousai.jobs.train import train
    from mousai.request.clip import Request

    torch.manual_seed(0)
    AutoencoderOobleck(8, [2, 4, 8], [1, 2, 2], 4, 4, 2, 44100).save_pretrained(tmp_path / "vae")
    (tmp_path / "vae" / "README.md").write_text("---\nlicense_name: stability-ai-community\n---\n")
    for index, name in enumerate(("slow piano", "fast guitar")):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * torch.randn(9000, 2, generator=torch.Generator().manual_seed(index)).numpy(), 44100)
    lines = [json.dumps({"file": f"{name}.wav", "caption": name, "split": "train"}) for name in ("slow piano", "fast guitar")]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    settings = [
        f"codec.path={tmp_path / 'vae'}", f"conditioner={{type: text, name: {tiny_encoder}, max_length: 24}}", f"data.cache={tmp_path / 'cache'}",
        f"data.sources=[{tmp_path / 'manifest.jsonl'}]", "data.crop_frames=64", "data.segment_seconds=null", "train.steps=3", "train.batch_size=2", "train.warmup_steps=0",
        "train.precision=null", "train.valid_every=0", "train.ema={beta: 0.5}", "generator.vector=null", "generator.max_tokens=24",
        "generator.seconds={hop: 64, sample_rate: 44100, longest: 0.2}", "generator.sample={steps: 3, guidance: 2.0}",
        "generator.stable_audio={in_channels: 4, layers: 2, heads: 4, head_features: 8, kv_heads: 2, cross_features: 16, time_features: 32, embedding_features: 32, global_features: 16, frames: 64}",
    ]  # fmt: skip
    recipe = ROOT / "recipes" / "muse" / "muse-dit-1b.yaml"
    cache(recipe, settings)
    assert train(recipe, tmp_path / "run", settings).step == 3
    model = tmp_path / "run" / "model"
    assert describe(model)["licences"] == {"conditioner": None, "codec": "stability-ai-community"}
    made = list(generate(Request(["slow piano", "calm"], 0.15, 5, 2), model, tmp_path / "out", device="cpu"))
    assert [clip.num_samples for clip in made] == [6615, 6615]
    assert io.read_metadata(made[0].path)["licence"] == "codec under stability-ai-community"
    assert "stability-ai-community" in (model / "README.md").read_text()
