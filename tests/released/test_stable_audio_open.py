"""A released Stable Audio Open makes here what diffusers' own pipeline makes of it, given the same noise."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import mousai
from mousai.audio import io
from mousai.cli.main import main
from mousai.jobs.info import describe
from mousai.randomness import seeded_generators

SECONDS, RATE = 32 * 32 / 44100, 44100  # of the whole of its frames


@pytest.fixture(scope="module")
def cascade(stable_audio_open):
    return mousai.load(stable_audio_open[0], "cpu")


def library(pipeline, monkeypatch, prompts, seconds, seed, steps, guidance, negative=None):
    """What diffusers makes, with the noise that the clips' seeds give here."""
    from diffusers.schedulers import scheduling_cosine_dpmsolver_multistep as scheduling

    generators = seeded_generators([seed + index for index in range(len(prompts))])

    def noise():
        return torch.stack([torch.randn(4, 32, generator=generator) for generator in generators])

    start = noise()
    monkeypatch.setattr(scheduling, "BrownianTreeNoiseSampler", lambda *_, **__: lambda *_: noise())
    return pipeline(
        list(prompts), audio_end_in_s=seconds, num_inference_steps=steps, guidance_scale=guidance, latents=start,
        negative_prompt=None if negative is None else [negative] * len(prompts),
    ).audios  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "guidance", "negative"), [(SECONDS, 7.0, None), (0.0113, 3.0, "calm noise"), (0.0113, 1.0, None)], ids=["whole", "negative", "plain"]
)
def test_it_makes_what_diffusers_makes(cascade, stable_audio_open, monkeypatch, seconds, guidance, negative):
    prompts = ["slow piano", "fast guitar and drums"]
    expected = library(stable_audio_open[1], monkeypatch, prompts, seconds, 7, 6, guidance, negative)
    found = cascade.generate(prompts, seconds, 7, steps=6, guidance=guidance, negative=negative)
    samples = min(found.shape[-1], expected.shape[-1])  # diffusers cuts where mousai rounds
    assert abs(found.shape[-1] - expected.shape[-1]) <= 1 and found.shape[-1] == round(seconds * RATE)
    scale = float(expected.std())
    torch.testing.assert_close(found[..., :samples] / scale, expected[..., :samples] / scale, atol=1e-3, rtol=1e-3)


def test_clips_are_the_same_alone_and_seconds_are_heard(cascade):
    assert cascade.clip_bytes(32, guided=True) >= 2 * cascade.generator.network.row_bytes(32) > 0
    prompts = ["slow piano", "calm noise, no drums", "a melancholic dance"]
    together = cascade.generate(prompts, 0.01, 3, steps=4)
    torch.testing.assert_close(cascade.generate(prompts[1], 0.01, 4, steps=4)[0], together[1], atol=1e-3 * float(together.std()), rtol=1e-3)
    assert (cascade.generate(prompts[0], 0.01, 4, steps=4)[0] - together[1]).abs().max() > 0.1 * together[1].std()
    longer = cascade.generate(prompts[1], 0.02, 4, steps=4)[0, :, : together.shape[-1]]
    assert (longer - together[1]).abs().max() > 0.1 * longer.std()


def test_every_sampler_init_inpainting_and_long_pieces_run(cascade):
    from mousai.request.piece import Piece, Section

    take = 0.1 * torch.randn(2, 700, generator=torch.Generator().manual_seed(0))
    for settings in ({"sampler": "ddim"}, {"sampler": "heun"}, {"init": take, "strength": 0.6}):
        assert cascade.generate("slow piano", None if "init" in settings else 0.01, steps=3, **settings).isfinite().all()
    mended = cascade.generate("slow piano", inpaint=take, span=(0.004, 0.01), steps=3)[0]
    assert torch.equal(mended[:, :170], take[:, :170]) and not torch.equal(mended[:, 200:400], take[:, 200:400])
    piece = Piece([Section("slow piano", 1.2)], window=1.0, overlap=0.1, steps=2)
    assert torch.cat(list(cascade.render(piece)), -1).shape == (2, round(1.2 * RATE))


def test_it_trains_by_the_objective_that_it_samples(cascade):
    condition = cascade.encode_texts(["slow piano", "a melancholic dance"])
    latents = torch.randn(2, 4, 32)
    loss, logs = cascade.generator.loss(latents, condition, torch.Generator().manual_seed(0), torch.tensor([32, 20]))
    assert loss.isfinite() and logs.keys() == {"diffusion"}
    padded = latents.clone()
    padded[1, :, 20:] += 1e-3
    assert torch.allclose(cascade.generator.loss(padded, condition, torch.Generator().manual_seed(0), torch.tensor([32, 20]))[0], loss, rtol=0.05)


def test_the_command_line_info_and_the_file_say_whose_weights_they_are(stable_audio_open, tmp_path, capsys):
    folder = stable_audio_open[0]
    described = describe(folder)
    assert described["licences"] == {"weights": "stable-audio-community"} and described["problems"] == []
    assert {"codec", "generator", "total"} == set(described["parameters"])
    with pytest.raises(SystemExit) as ended:
        main(["generate", "slow piano", "--seconds", "0.02", "--steps", "3", "--model", str(folder), "--out", str(tmp_path / "clip.wav")])
    said = capsys.readouterr().err
    assert ended.value.code == 0 and "float32" not in said, said  # no word of diffusers'
    made = io.read_metadata(tmp_path / "clip.wav")
    assert made["model"] == "tiny-audio-open" and made["fingerprint"] == described["fingerprint"]
    assert made["licence"] == "weights under stable-audio-community" and made["sampler"] == "dpmpp_2m_sde"
    moved = tmp_path / "tiny-audio-open"
    shutil.copytree(folder, moved)
    assert describe(moved)["fingerprint"] == described["fingerprint"]
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(tmp_path / "clip.wav"), "--model", str(moved), "--json"])
    assert ended.value.code == 0


def test_what_it_does_not_take_is_said_in_one_line(cascade):
    with pytest.raises(ValueError, match="seconds: this model makes at most 0.02 s, came 0.05 s"):
        cascade.generate("slow piano", 0.05, steps=2)
    with pytest.raises(ValueError, match="sampler: this model is sampled by dpmpp_2m_sde, ddim, .*; came 'pingpong'"):
        cascade.generate("slow piano", 0.01, sampler="pingpong")
    with pytest.raises(ValueError, match="schedule: this model has no such setting"):
        cascade.generate("slow piano", 0.01, schedule="karras")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("model_index.json", {"_class_name": "FluxPipeline"}, "model_index.json: expected one of StableAudioPipeline.* of diffusers, came 'FluxPipeline'"),
        ("scheduler/scheduler_config.json", {"_class_name": "EDMDPMSolverMultistepScheduler"}, "scheduler: expected CosineDPMSolverMultistepScheduler"),
        ("scheduler/scheduler_config.json", {"sigma_min": 0.1}, "scheduler: expected sigma_min 0.3, came 0.1"),
        ("transformer/config.json", {"norm": "rms"}, "'norm' is no setting that is known here"),
        ("projection_model/config.json", {"conditioning_dim": 10}, "transformer: expected 10 features of tokens"),
        ("tokenizer/tokenizer_config.json", {"model_max_length": 10**30}, "expected a model_max_length from 2 to 4096"),
        ("transformer/diffusion_pytorch_model.safetensors", None, "missing weights"),
        ("projection_model/config.json", None, "projection_model/config.json is missing"),
        ("text_encoder/model.safetensors", None, "missing weights"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_before_weights_are_read(stable_audio_open, tmp_path, capsys, file, change, message):
    folder = tmp_path / "model"
    shutil.copytree(stable_audio_open[0], folder)
    if change is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | change))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        mousai.load(folder, "cpu")
    with pytest.raises(SystemExit) as ended:
        main(["generate", "slow piano", "--model", str(folder), "--out", str(tmp_path)])
    assert ended.value.code == 2 and len(capsys.readouterr().err.strip().splitlines()) == 1
