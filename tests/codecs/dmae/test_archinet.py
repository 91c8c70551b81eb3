"""Checkpoints in the released key scheme, made by audio-diffusion-pytorch here, read from disk into our modules."""

import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import mousai  # noqa: F401  (installs the torchaudio hook)
from mousai.codecs.dmae.archinet import diffusion_ae_state, dmae_state, encoder_state, split_transform
from mousai.codecs.dmae.encoders import EncoderConfig
from mousai.codecs.dmae.waveform import WaveformConfig, WaveformDMAE
from mousai.diffusion.process import V
from mousai.diffusion.samplers import sample
from mousai.diffusion.schedules import schedule
from mousai.networks import archinet
from mousai.networks.transforms import TransformConfig
from mousai.networks.unet1d import UNet1dConfig

TRANSFORM = TransformConfig(bands=8, window_length=16, stride=8)
ENCODER = EncoderConfig(channels=16, num_blocks=(1, 1), out_channels=6, n_fft=127, hop_length=16)
NET = UNet1dConfig(
    in_channels=16,
    channels=(16, 16, 32),
    factors=(1, 2, 4),
    items=(1, 2, 1),
    inject_channels=(0, 0, 6),
    modulation_features=32,
)


def diffusion_autoencoder():
    """A DMAE v2 in small: audio-diffusion-pytorch's U-Net in its learned transform, audio-encoders-pytorch's encoder."""
    from audio_diffusion_pytorch import DiffusionAE, LTPlugin, UNetV0
    from audio_encoders_pytorch import ME1d, TanhBottleneck

    torch.manual_seed(0)
    encoder = ME1d(
        in_channels=2,
        channels=16,
        multipliers=[1, 1, 1],
        factors=[2, 2],
        num_blocks=[1, 1],
        stft_num_fft=127,
        stft_hop_length=16,
        out_channels=6,
        bottleneck=TanhBottleneck(),
    )
    return DiffusionAE(
        net_t=LTPlugin(UNetV0, num_filters=8, window_length=16, stride=8),
        in_channels=2,
        channels=list(NET.channels),
        factors=list(NET.factors),
        items=list(NET.items),
        modulation_features=32,
        encoder=encoder,
        inject_depth=2,
    ).eval()


def write(path, state, prefix="model."):
    state = {prefix + name: value.clone() for name, value in state.items()}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("copy", archinet.COPIES)
def test_a_released_file_gives_the_references_output(tmp_path, suffix, copy):
    theirs = diffusion_autoencoder()
    kept = {name: value for name, value in theirs.state_dict().items() if name.startswith((copy, "encoder."))}
    config = WaveformConfig(encoder=ENCODER, unet=NET, transform=TRANSFORM)
    ours = WaveformDMAE(config).eval()
    ours.load_state_dict(dmae_state(archinet.read(write(tmp_path / f"model{suffix}", kept)), config))

    g = torch.Generator().manual_seed(1)
    audio, noise = torch.randn(2, 2, 512, generator=g), torch.randn(2, 2, 512, generator=g)
    with torch.no_grad():
        latents = ours.latents(audio)
        torch.testing.assert_close(latents, theirs.encode(audio), atol=1e-5, rtol=1e-5)
        expected = theirs.sample(noise, channels=[None, None, latents], num_steps=5)
    times = schedule("linear", 5)
    cache = ours.unet.cache(times[:-1], inject={2: latents})
    got = sample("ddim", V, lambda x, t: ours.predict(x, t, cache=cache), noise, times)
    assert (expected - noise).std() > 0.1
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spectrum", ["magnitude", "log_mel"])
def test_what_came_in_goes_out_again_and_loads_strictly(spectrum):
    from audio_encoders_pytorch import MelE1d, TanhBottleneck

    theirs, encoder = diffusion_autoencoder(), ENCODER
    if spectrum == "log_mel":
        encoder = replace(ENCODER, spectrum="log_mel", n_fft=128, mel_bands=20)
        mel = {"channels": 20, "sample_rate": 48000, "normalize_log": True, "n_fft": 128, "hop_length": 16, "win_length": 128}
        shape = {"channels": 16, "multipliers": [1, 1, 1], "factors": [2, 2], "num_blocks": [1, 1], "out_channels": 6}
        theirs.encoder = MelE1d(in_channels=2, bottleneck=TanhBottleneck(), **shape, **{f"mel_{name}": value for name, value in mel.items()})
    config = WaveformConfig(encoder=encoder, unet=NET, transform=TRANSFORM)
    ours = WaveformDMAE(config)
    ours.load_state_dict(dmae_state(theirs.state_dict(), config))
    back = diffusion_ae_state(ours.state_dict(), config)
    assert back.keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(back[name], value, atol=1e-6, rtol=0, msg=name)
    with pytest.raises(ValueError, match="spectrum log_magnitude"):
        diffusion_ae_state(ours.state_dict(), replace(config, encoder=replace(ENCODER, spectrum="log_magnitude")))


def test_a_config_that_does_not_fit_names_the_first_key():
    state = split_transform(archinet.parts(diffusion_autoencoder().state_dict())["net"])[1]
    deeper = UNet1dConfig(**{**vars(NET), "items": (1, 2, 2)})
    with pytest.raises(ValueError, match="lacks .* keys of this config, the first is 'blocks.2.net.block"):
        archinet.unet_state(state, deeper)
    adapter = {f"blocks.2.net.skip_adapter.block.{name}": torch.zeros(1) for name in ("weight", "bias")}
    with pytest.raises(ValueError, match="has 2 keys that this config does not, the first is 'blocks.2.net.skip"):
        archinet.unet_state(state | adapter, NET)
    with pytest.raises(ValueError, match="not a UNetV0"):
        archinet.unet_state({"a": torch.zeros(1)}, NET)
    with pytest.raises(ValueError, match="stft.window has length 127"):
        encoder_state({"stft.window": torch.zeros(127)}, EncoderConfig())


class Mischief:
    def __reduce__(self):
        return print, ("code ran",)


def test_bad_files_are_named(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="nothing there"):
        archinet.read(tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError, match="expected a checkpoint file"):
        archinet.read(tmp_path)
    whole = write(tmp_path / "whole.pt", diffusion_autoencoder().state_dict())
    for name in ("cut.pt", "cut.safetensors"):
        (tmp_path / name).write_bytes(whole.read_bytes()[:2000])
        with pytest.raises(ValueError, match=name):
            archinet.read(tmp_path / name)
    (tmp_path / "code.pt").write_bytes(pickle.dumps({"a": Mischief()}, protocol=2))
    with pytest.raises(ValueError, match="plain tensors"):
        archinet.read(tmp_path / "code.pt")
    assert "code ran" not in capsys.readouterr().out
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="no state dict"):
        archinet.read(tmp_path / "list.pt")
    with pytest.raises(ValueError, match="no encoder"):
        dmae_state({"net.a": torch.zeros(1)}, WaveformConfig(encoder=ENCODER, unet=NET, transform=TRANSFORM))
    with pytest.raises(ValueError, match="no learned transform"):
        split_transform({"blocks.0.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="no U-Net"):
        archinet.parts({"model.encoder.a": torch.zeros(1)})
