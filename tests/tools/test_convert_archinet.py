"""A checkpoint in the released scheme becomes a model folder that loads, calibrated on audio."""

import importlib.util
import math
from pathlib import Path

import pytest
import soundfile
import torch

import mousai  # noqa: F401  (installs the torchaudio hook)
from mousai import config
from mousai.codecs.dmae import archinet
from mousai.codecs.dmae.encoders import EncoderConfig
from mousai.codecs.dmae.waveform import WaveformConfig, WaveformDMAE
from mousai.networks.transforms import TransformConfig
from mousai.networks.unet1d import UNet1dConfig
from mousai.recipe import load_part

TOOL = Path(__file__).parents[2] / "tools" / "convert_archinet.py"
CODEC = WaveformConfig(
    encoder=EncoderConfig(channels=16, num_blocks=(1, 1), out_channels=6, n_fft=127, hop_length=16),
    transform=TransformConfig(bands=8, window_length=16, stride=8),
    unet=UNet1dConfig(
        in_channels=16, channels=(8, 8), factors=(1, 8), items=(1, 1), inject_channels=(0, 6), modulation_features=16
    ),
)


@pytest.fixture
def convert():
    spec = importlib.util.spec_from_file_location("convert_archinet", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.convert


@pytest.fixture
def files(tmp_path):
    """A checkpoint with our weights under their names, and the recipe of its shape."""
    torch.manual_seed(0)
    ours = WaveformDMAE(CODEC).state_dict()
    theirs = {f"model.encoder.{name.removeprefix('encoder.')}": v for name, v in ours.items() if name.startswith("encoder.")}
    theirs["model.net.blocks.0.weight"] = ours["transform.analysis_filters.weight"]
    theirs["model.net.blocks.1.weight"] = ours["transform.synthesis_filters.weight"]
    for name, other in archinet.unet_names(CODEC.unet, "blocks.2.net."):
        value = ours[f"unet.{name}"]
        theirs[f"model.net.blocks.2.{other}"] = value[..., None] if name.endswith("inject.weight") else value
    torch.save(theirs, tmp_path / "released.bin")
    recipe = {"format": 1, "codec": {"type": "dmae", **config.to_dict(CODEC)}, "data": {"sources": ["none"], "crop_samples": 4096}}
    config.write_yaml(tmp_path / "recipe.yaml", recipe | {"train": {"steps": 1}})
    return tmp_path


def test_the_folder_holds_the_weights(convert, files):
    convert(files / "released.bin", files / "recipe.yaml", files / "model", [])
    codec = load_part("codec", files / "model")
    torch.manual_seed(0)
    for (name, got), wanted in zip(codec.state_dict().items(), WaveformDMAE(CODEC).state_dict().values(), strict=True):
        torch.testing.assert_close(got, wanted, atol=0, rtol=0, msg=name)


def test_sources_standardise_the_latents(convert, files):
    (files / "music").mkdir()
    tone = 0.3 * torch.sin(torch.arange(48000) * 2 * math.pi * 220 / 48000)[:, None].expand(-1, 2)
    soundfile.write(files / "music" / "tone.wav", (tone + 0.05 * torch.randn(48000, 2)).numpy(), 48000)
    convert(files / "released.bin", files / "recipe.yaml", files / "model", [str(files / "music")])
    codec = load_part("codec", files / "model")
    audio = torch.from_numpy(soundfile.read(files / "music" / "tone.wav", dtype="float32")[0]).T[None]
    latents = codec.encode(audio)
    assert latents.mean(-1).abs().max() < 0.5
    assert 0.5 < latents.std(-1).mean() < 2


def test_wrong_files_leave_nothing(convert, files):
    with pytest.raises(FileNotFoundError):
        convert(files / "none.bin", files / "recipe.yaml", files / "model", [])
    state = torch.load(files / "released.bin")
    state["model.net.blocks.0.weight"] = torch.zeros(3)
    torch.save(state, files / "released.bin")
    with pytest.raises(ValueError, match="analysis_filters"):
        convert(files / "released.bin", files / "recipe.yaml", files / "model", [])
    assert not (files / "model").exists()
