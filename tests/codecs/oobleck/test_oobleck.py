"""The Oobleck codec is diffusers' own, computed in windows that leave no seam, and its released folders are model folders."""

from __future__ import annotations

import json
import os
import shutil
import sys
from fnmatch import fnmatch

import pytest
import soundfile
import torch

pytest.importorskip("diffusers", reason="the extra 'diffusers' is not installed")
from diffusers import AutoencoderOobleck  # noqa: E402

from mousai import checkpoint  # noqa: E402
from mousai.cli.main import main  # noqa: E402
from mousai.codecs.oobleck.config import OobleckConfig, decoder_reach, encoder_reach  # noqa: E402
from mousai.diffusers_folder import cached, contents, frames_of  # noqa: E402
from mousai.jobs.info import describe  # noqa: E402
from mousai.pipelines.cascade import load_codec  # noqa: E402
from mousai.recipe import codec_fingerprint, load_part, part_from, recipe_from  # noqa: E402
from mousai.trust import DOWNLOADS, allowing  # noqa: E402

SHAPE = {"encoder_hidden_size": 8, "downsampling_ratios": [2, 4, 4], "channel_multiples": [1, 2, 2], "decoder_channels": 4, "decoder_input_channels": 4}


@pytest.fixture(scope="module")
def vae():
    """A tiny autoencoder of random weights, whose every layer has a say."""
    torch.manual_seed(0)
    model = AutoencoderOobleck(**SHAPE).eval().requires_grad_(False)
    for name, value in model.named_parameters():
        if "weight_g" not in name:
            torch.nn.init.normal_(value, std=0.2)
    return model


@pytest.fixture(scope="module")
def folder(vae, tmp_path_factory):
    """Its folder, as it is released."""
    place = tmp_path_factory.mktemp("released") / "vae"
    vae.save_pretrained(place)
    (place / "README.md").write_text("---\nlicense: other\nlicense_name: stability-ai-community\n---\n# A tiny one\n")
    return place


@pytest.fixture(scope="module")
def codec(folder):
    return load_part("codec", folder)


def test_what_the_layers_see_is_counted_exactly():
    """A latent frame's gradient reaches as far as the config says, and no farther."""
    codec = part_from("codec", {"type": "oobleck", "channels": 1, "latent_channels": 2, "features": 4, "decoder_features": 2, "factors": [2, 4], "multipliers": [1, 2]}).build(0)
    for value in codec.parameters():
        torch.nn.init.normal_(value, std=0.3)
    audio, latents = torch.randn(1, 1, 8 * 81, requires_grad=True), torch.randn(1, 2, 81, requires_grad=True)
    codec.encode_window(audio)[..., 40].sum().backward()
    seen = audio.grad.flatten().nonzero().flatten() // 8 - 40
    assert max(-seen.min(), seen.max()) == encoder_reach((2, 4))
    codec.decode_windows([latents], [0], [0], 0, None)[0][..., 40 * 8 : 41 * 8].sum().backward()
    seen = latents.grad.abs().sum((0, 1)).nonzero().flatten() - 40
    assert max(-seen.min(), seen.max()) == decoder_reach((2, 4))
    assert (encoder_reach((2, 4, 4, 8, 8)), decoder_reach((2, 4, 4, 8, 8)), OobleckConfig().context_frames) == (8, 10, 20)


def test_it_computes_what_diffusers_does(codec, vae):
    audio = 0.3 * torch.randn(2, 2, 32 * 50, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(codec.encode(audio), vae.encode(audio).latent_dist.mode())
    latents = torch.randn(2, 4, 50, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(codec.decode(latents), vae.decode(latents).sample)
    assert codec.sample_rate == 44100 and codec.hop == 32 and codec.latent_channels == 4


def test_windows_leave_no_seam_whatever_the_cuts(codec, vae):
    """Encoding and decoding in windows give what one pass over everything gives, which the library's own tiling does not."""
    generator = torch.Generator().manual_seed(3)
    audio, latents = 0.3 * torch.randn(1, 2, 32 * 700 - 11, generator=generator), torch.randn(1, 4, 700, generator=generator)
    whole = vae.encode(torch.nn.functional.pad(audio, (0, 11))).latent_dist.mode()
    streamed = torch.cat(list(codec.encode_stream(audio.split([5, 9000, 4000, audio.shape[-1] - 13005], -1))), -1)
    sound = vae.decode(latents).sample
    torch.testing.assert_close(streamed, whole, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(codec.encode(audio, whole=True), whole)
    close = {"atol": 2e-6 * float(sound.abs().max()), "rtol": 1e-5}
    torch.testing.assert_close(torch.cat(list(codec.decode_stream(latents.split([1, 299, 400], -1), batch=3)), -1), sound, **close)
    start, first, sample = codec.resume(32 * 500)
    torch.testing.assert_close(torch.cat(list(codec.decode_stream([latents[..., first:]], start=start)), -1), sound[..., sample:], **close)
    vae.enable_tiling()
    vae.tile_latent_min_length, vae.tile_latent_overlap = codec.stride_frames + 16, 8
    tiled = vae.decode(latents).sample
    vae.disable_tiling()
    assert (tiled - sound).abs().max() > 100 * close["atol"]


@pytest.mark.parametrize("num_samples", [1, 31, 32, 33, 4567])
def test_any_length_comes_back_exactly(codec, num_samples):
    latents = codec.encode(torch.randn(1, 2, num_samples))
    assert latents.shape == (1, 4, -(-num_samples // 32)) and codec.decode(latents, num_samples).shape == (1, 2, num_samples)


def test_bfloat16_stays_inside(codec, folder):
    half = load_codec(folder, "cpu", "bfloat16")[0]
    latents = half.encode(0.1 * torch.randn(1, 2, 640))
    assert half.dtype == torch.bfloat16 and latents.dtype == torch.float32 and half.decode(latents).dtype == torch.float32


def test_a_released_folder_is_a_model_folder(folder, codec, tmp_path, capsys):
    described = describe(folder)
    assert described["config"]["codec"]["type"] == "oobleck" and described["problems"] == []
    assert described["licences"] == {"weights": "stability-ai-community"}
    assert described["parameters"]["codec"] == sum(value.numel() for value in codec.parameters())
    assert len(codec_fingerprint(folder)) == len(described["fingerprint"]) == 12
    soundfile.write(tmp_path / "take.wav", 0.1 * torch.randn(5000, 2).numpy(), 44100)
    for arguments in (["encode", tmp_path / "take.wav", "--out", tmp_path / "take.safetensors"], ["decode", tmp_path / "take.safetensors", "--out", tmp_path / "again.wav"]):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in [*arguments, "--model", folder]])
        assert ended.value.code == 0, capsys.readouterr().err
    assert soundfile.info(tmp_path / "again.wav").frames == 5000


def test_what_is_wrong_is_said_in_one_line(folder, tmp_path, monkeypatch):
    said = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"_class_name": "AutoencoderKL"}, "config.json: expected one of AutoencoderOobleck.* of diffusers, came 'AutoencoderKL'"),
        ({"_class_name": []}, r"config.json: expected the name of a class of diffusers as _class_name, came \[\]"),
        ({"tiling": 3}, "config.json: 'tiling' is no setting that is known here"),
        ({"downsampling_ratios": [3, 4, 4]}, "factors: expected even numbers"),
        ({"encoder_hidden_size": 10}, "features: expected twice the latent channels, 8, came 10"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(said | change))
        (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes((folder / "diffusion_pytorch_model.safetensors").read_bytes())
        with pytest.raises(ValueError, match=message):
            load_part("codec", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(said | {"decoder_channels": 2}))
    with pytest.raises(ValueError, match="the weights do not fit the config"):
        load_part("codec", tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(FileNotFoundError, match="missing weights: .* no diffusion_pytorch_model.safetensors"):
        load_part("codec", tmp_path)
    assert "missing weights" in checkpoint.verify(tmp_path)[0]
    for name, hint in (("nobody/has-it", "say --download"), ("nobody/..", "the shipped models are"), ("./nobody", "the shipped models are")):
        with pytest.raises(FileNotFoundError, match=f"no such model folder: .*nobody.*{hint}"):
            load_part("codec", name)
    with pytest.raises(FileNotFoundError, match="no such model folder: nobody/has-it, and it could not be fetched: .*; a gated model"), allowing(DOWNLOADS):
        load_part("codec", "nobody/has-it")  # which is tried without a network
    monkeypatch.setitem(sys.modules, "diffusers.models", None)
    with pytest.raises(ValueError, match=r"the codec oobleck needs the package diffusers: `pip install 'mousai\[diffusers\]'`"):
        load_part("codec", folder)


def test_a_foreign_folder_is_read_up_to_a_bound_and_fetched_with_its_weights(folder, tmp_path, monkeypatch):
    place = tmp_path / "place"
    shutil.copytree(folder, place)
    (place / "config.json").write_bytes((folder / "config.json").read_bytes().replace(b"\n", b"\r\n"))
    assert contents(place) == contents(folder)
    os.mkfifo(place / "other.json")
    with pytest.raises(ValueError, match="expected a regular file, came a pipe"):
        contents(place)
    for wrong in ({"factors": 5}, {"factors": [2, "x"]}, {"sample_rate": "fast"}, {"sample_rate": None}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
            frames_of({"type": "oobleck", **wrong})
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **how: asked.extend(how["allow_patterns"]) or str(folder))
    assert cached("some/autoencoder") == folder
    names = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model-00001-of-00002.safetensors", "model.safetensors")
    assert [any(fnmatch(name, pattern) for pattern in asked) for name in names] == [True, True, False]  # the last is another program's copy of a pipeline


def test_it_is_not_trained_here():
    recipe = recipe_from({"format": 1, "codec": {"type": "oobleck"}, "data": {"sources": ["x"]}, "train": {"steps": 1}})
    with torch.device("meta"):
        codec = recipe.codec.build()
    with pytest.raises(ValueError, match="oobleck is taken as it was released and not trained here"):
        codec.loss(torch.zeros(1, 2, 4096), torch.Generator())
    assert sum(value.numel() for value in codec.parameters()) == 156_112_514  # as published
