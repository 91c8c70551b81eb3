"""A released Stable Audio 3 makes here what diffusers' own pipeline makes of it, given the same noise; its codec leaves no seam."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import mousai
from mousai.jobs.info import describe
from mousai.randomness import seeded_generators
from mousai.recipe import load_part

RATE = 44100


@pytest.fixture(scope="module")
def cascade(stable_audio_3):
    return mousai.load(stable_audio_3[0], "cpu")


@pytest.mark.parametrize(("guidance", "negative"), [(None, None), (3.0, None), (3.0, "calm noise")], ids=["plain", "guided", "negative"])
def test_it_makes_what_diffusers_makes(cascade, stable_audio_3, monkeypatch, guidance, negative):
    from diffusers.schedulers import scheduling_flow_match_euler_discrete as scheduling

    prompts, seconds, steps = ["slow piano", "fast guitar and drums"], 0.03, 5
    frames = -(-round(seconds * RATE) // 32)
    generators = seeded_generators([7, 8])

    def noise(*_, **__):
        return torch.stack([torch.randn(4, frames, generator=generator) for generator in generators])

    start = noise()
    monkeypatch.setattr(scheduling, "randn_tensor", noise)
    expected = stable_audio_3[1](
        prompts, duration=seconds, num_inference_steps=steps, guidance_scale=guidance or 1.0, latents=start,
        negative_prompt=None if negative is None else [negative] * 2,
    ).audios  # fmt: skip
    settings = {} if guidance is None else {"guidance": guidance, "negative": negative}
    found = cascade.generate(prompts, seconds, 7, steps=steps, **settings).clamp(-1, 1)
    samples = min(found.shape[-1], expected.shape[-1])
    scale = float(expected.std())
    torch.testing.assert_close(found[..., :samples] / scale, expected[..., :samples] / scale, atol=1e-3, rtol=1e-3)


def test_its_codec_leaves_no_seam(stable_audio_3):
    codec, vae = load_part("codec", stable_audio_3[0] / "vae"), stable_audio_3[1].vae
    generator = torch.Generator().manual_seed(3)
    audio, latents = 0.3 * torch.randn(1, 2, 32 * 230 - 11, generator=generator), torch.randn(1, 4, 230, generator=generator)
    with torch.no_grad():
        whole, sound = vae.encode(torch.nn.functional.pad(audio, (0, 11))).latents, vae.decode(latents).sample
    for found, expected in ((codec.encode(audio), whole), (codec.decode(latents), sound)):
        torch.testing.assert_close(found, expected, atol=2e-5 * float(expected.abs().max()), rtol=1e-4)
    assert codec.context_frames == 4 and codec.decode(latents, 777).shape == (1, 2, 777)


def test_half_precision_keeps_positions(stable_audio_3):
    half = mousai.load(stable_audio_3[0], "cpu", "bfloat16")
    assert half.generator.dtype == half.codec.dtype == torch.bfloat16
    assert half.generator.transformer.net.rotary_pos_emb.inv_freq.dtype == torch.float32
    assert all(module.inv_freq.dtype == torch.float32 for module in half.codec.vae.modules() if hasattr(module, "inv_freq"))
    assert half.generate("slow piano", 0.02).isfinite().all()


def test_it_is_described_trained_and_refused(cascade, stable_audio_3, tmp_path):
    described = describe(stable_audio_3[0])
    assert described["problems"] == [] and described["config"]["codec"]["type"] == "same" and described["licences"] == {"weights": None}
    loss, _ = cascade.generator.loss(torch.randn(2, 4, 20), cascade.encode_texts(["slow piano", "calm noise"]), torch.Generator().manual_seed(0))
    assert loss.isfinite()
    with pytest.raises(ValueError, match="seconds: this model makes at most 1.00 s, came 2.00 s"):
        cascade.generate("slow piano", 2.0)
    shutil.copytree(stable_audio_3[0], tmp_path / "model")
    path = tmp_path / "model" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_train_timesteps": 1000}))
    with pytest.raises(ValueError, match="scheduler: expected num_train_timesteps 1, came 1000"):
        mousai.load(tmp_path / "model", "cpu")
