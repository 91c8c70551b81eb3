"""A checkpoint in the released scheme becomes a model folder that loads, calibrated on audio; and a model such a checkpoint."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file

import mousai  # noqa: F401  (installs the torchaudio hook)
from mousai import config
from mousai.codecs.dmae.archinet import diffusion_ae_state
from mousai.codecs.dmae.encoders import EncoderConfig
from mousai.codecs.dmae.waveform import WaveformConfig, WaveformDMAE
from mousai.networks.transforms import TransformConfig
from mousai.networks.unet1d import UNet1dConfig
from mousai.networks.unetv0 import arguments
from mousai.recipe import load_part

TOOL = Path(__file__).parents[2] / "tools" / "convert_archinet.py"
CODEC = WaveformConfig(
    encoder=EncoderConfig(channels=16, num_blocks=(1, 1), out_channels=6, n_fft=127, hop_length=16),
    transform=TransformConfig(bands=8, window_length=16, stride=8),
    unet=UNet1dConfig(
        in_channels=16, channels=(8, 8), factors=(1, 8), items=(1, 1), inject_channels=(0, 6), modulation_features=16
    ),
)
UNET = UNet1dConfig(
    in_channels=6, channels=(8, 16), factors=(1, 2), items=(1, 1), attentions=(0, 1), cross_attentions=(1, 1),
    attention_heads=2, attention_features=8, embedding_features=12, modulation_features=32,
)  # fmt: skip
RECIPE = {"format": 1, "data": {"sources": ["none"]}, "train": {"steps": 1}}


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("convert_archinet", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tool, monkeypatch, capsys):
    """The tool as a command: its exit status and the lines that it wrote."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["convert_archinet.py", *map(str, arguments)])
        status, said = tool.main(), capsys.readouterr()
        return status, (said.out + said.err).splitlines()

    return run


@pytest.fixture
def files(tmp_path):
    """A checkpoint with our weights under their names, and the recipe of its shape."""
    torch.manual_seed(0)
    theirs = diffusion_ae_state(WaveformDMAE(CODEC).state_dict(), CODEC)
    torch.save({f"model.{name}": value for name, value in theirs.items()}, tmp_path / "released.bin")
    recipe = {**RECIPE, "codec": {"type": "dmae", **config.to_dict(CODEC)}, "data": {"sources": ["none"], "crop_samples": 4096}}
    config.write_yaml(tmp_path / "recipe.yaml", recipe)
    return tmp_path


def test_the_folder_holds_the_weights(tool, files):
    assert tool.to_model(files / "released.bin", files / "recipe.yaml", files / "model", []) < 1e-5
    codec = load_part("codec", files / "model")
    torch.manual_seed(0)
    for (name, got), wanted in zip(codec.state_dict().items(), WaveformDMAE(CODEC).state_dict().values(), strict=True):
        torch.testing.assert_close(got, wanted, atol=0, rtol=0, msg=name)


def test_sources_standardise_the_latents(tool, files):
    (files / "music").mkdir()
    tone = 0.3 * torch.sin(torch.arange(48000) * 2 * math.pi * 220 / 48000)[:, None].expand(-1, 2)
    soundfile.write(files / "music" / "tone.wav", (tone + 0.05 * torch.randn(48000, 2)).numpy(), 48000)
    tool.to_model(files / "released.bin", files / "recipe.yaml", files / "model", [str(files / "music")])
    codec = load_part("codec", files / "model")
    audio = torch.from_numpy(soundfile.read(files / "music" / "tone.wav", dtype="float32")[0]).T[None]
    latents = codec.encode(audio)
    assert latents.mean(-1).abs().max() < 0.5
    assert 0.5 < latents.std(-1).mean() < 2


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_an_autoencoder_goes_out_as_it_came_in(run, files, suffix):
    status, lines = run(files / "released.bin", "--recipe", files / "recipe.yaml", "--out", files / "model")
    assert status == 0 and "the largest difference of one forward pass is" in lines[0]
    status, lines = run(files / "model", "--out", files / f"out{suffix}")
    assert status == 0 and len(lines) == 1
    out = load_file(files / f"out{suffix}") if suffix == ".safetensors" else torch.load(files / f"out{suffix}")
    released = torch.load(files / "released.bin")
    assert {f"model.{name}" for name in out} == released.keys()
    assert all(torch.equal(value, released[f"model.{name}"]) for name, value in out.items())


@pytest.mark.parametrize("network", ["unet1d", "unetv0"])
def test_a_generator_comes_in_with_its_codec_and_goes_out_for_the_original_to_load(run, files, network):
    from audio_diffusion_pytorch import DiffusionModel, UNetV0

    torch.manual_seed(0)
    shape = dict(net_t=UNetV0, in_channels=6, use_embedding_cfg=True, embedding_max_length=5, **arguments(UNET))
    theirs, again = DiffusionModel(**shape), DiffusionModel(**shape)
    torch.save(theirs.state_dict(), files / "generator.ckpt")
    run(files / "released.bin", "--recipe", files / "recipe.yaml", "--out", files / "codec")
    generator = {"type": "latent_diffusion", "max_tokens": 5, "unet": config.to_dict(UNET), "network": {"type": network}}
    recipe = {**RECIPE, "codec": {"path": str(files / "codec")}, "conditioner": {"type": "text", "name": "none"}, "generator": generator}
    config.write_yaml(files / "generator.yaml", {**recipe, "data": {"sources": ["none"], "cache": "none"}})
    status, lines = run(files / "generator.ckpt", "--recipe", files / "generator.yaml", "--out", files / "model")
    assert status == 0, lines
    assert load_part("codec", files / "model").hop == CODEC.encoder.hop

    status, lines = run(files / "model", "--part", "generator", "--out", files / "out.ckpt")
    assert status == 0, lines
    again.load_state_dict(torch.load(files / "out.ckpt"), strict=True)
    x, t, tokens = torch.randn(1, 6, 8), torch.tensor([0.3]), torch.randn(1, 5, 12)
    one, other = (model.net(x, time=t, embedding=tokens, embedding_scale=2.0) for model in (theirs, again))
    torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_what_differs_too_much_is_not_written(tool, run, files, monkeypatch):
    monkeypatch.setattr(tool, "TOLERANCE", -1.0)
    status, lines = run(files / "released.bin", "--recipe", files / "recipe.yaml", "--out", files / "model")
    assert status == 2 and len(lines) == 1 and "from the original's" in lines[0] and not (files / "model").exists()


def test_what_the_original_has_nothing_like_is_one_line(run, files, tiny_cascade):
    for arguments_, message in [
        (["starter", "--out", files / "x.pt"], "--recipe is needed"),
        ([mousai.__path__[0] + "/starter", "--out", files / "x.pt"], "nothing like a MagnitudeCodec"),
        ([tiny_cascade, "--out", files / "x.pt"], "nothing like a MDCTDMAE"),
        ([mousai.__path__[0] + "/starter", "--part", "generator", "--out", files / "x.pt"], "came a dit, music"),
        ([mousai.__path__[0] + "/starter", "--out", files / "x.txt"], "expected a file of type .pt"),
    ]:
        status, lines = run(*arguments_)
        assert status == 2 and len(lines) == 1 and message in lines[0] and not (files / "x.pt").exists()


def test_wrong_files_leave_nothing(tool, files):
    with pytest.raises(FileNotFoundError):
        tool.to_model(files / "none.bin", files / "recipe.yaml", files / "model", [])
    state = torch.load(files / "released.bin")
    state["model.net.blocks.0.weight"] = torch.zeros(3)
    torch.save(state, files / "released.bin")
    with pytest.raises(ValueError, match="analysis_filters"):
        tool.to_model(files / "released.bin", files / "recipe.yaml", files / "model", [])
    assert not (files / "model").exists()
