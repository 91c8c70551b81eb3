"""The encoders against audio-encoders-pytorch on the same weights, and on input that breaks the original."""

import copy
import dataclasses

import pytest
import torch

import mousai  # noqa: F401  (installs the torchaudio hook)
from mousai.codecs.dmae.archinet import encoder_state
from mousai.codecs.dmae.encoders import LOG_MEAN, LOG_STD, Encoder, EncoderConfig

MAGNITUDE = EncoderConfig(channels=16, num_blocks=(1, 2), out_channels=6, n_fft=127, hop_length=32)
MEL = EncoderConfig(
    spectrum="log_mel",
    channels=16,
    multipliers=(1, 2),
    factors=(2,),
    num_blocks=(2,),
    out_channels=6,
    n_fft=512,
    hop_length=128,
    mel_bands=20,
)


def reference(config: EncoderConfig):
    from audio_encoders_pytorch import ME1d, MelE1d, TanhBottleneck

    torch.manual_seed(0)
    shape = dict(
        in_channels=config.in_channels,
        channels=config.channels,
        multipliers=list(config.multipliers),
        factors=list(config.factors),
        num_blocks=list(config.num_blocks),
        patch_size=config.patch_size,
        out_channels=config.out_channels,
        bottleneck=TanhBottleneck(),
    )
    if config.is_mel:
        mel = dict(n_fft=config.n_fft, hop_length=config.hop_length, win_length=config.n_fft, sample_rate=config.sample_rate)
        mel |= dict(normalize_log=config.spectrum == "log_mel")
        return MelE1d(mel_channels=config.mel_bands, **{f"mel_{name}": value for name, value in mel.items()}, **shape)
    use_log = config.spectrum == "log_magnitude"
    return ME1d(stft_num_fft=config.n_fft, stft_hop_length=config.hop_length, use_log=use_log, **shape)


@pytest.mark.parametrize("patch_size", [1, 2])
@pytest.mark.parametrize(("config", "spectrum"), [(MAGNITUDE, "magnitude"), (MAGNITUDE, "log_magnitude"), (MEL, "mel"), (MEL, "log_mel")])
def test_equals_audio_encoders_pytorch_on_the_same_weights(config, spectrum, patch_size):
    config = dataclasses.replace(config, spectrum=spectrum, patch_size=patch_size)
    theirs = reference(config)
    ours = Encoder(config)
    ours.load_state_dict(encoder_state(theirs.state_dict(), config))
    audio = torch.randn(2, 2, 16 * config.hop, generator=torch.Generator().manual_seed(1))
    if spectrum == "log_magnitude":  # ours is standardised as well
        magnitude, _ = theirs.stft.encode(audio)
        standardised = (magnitude.log() - LOG_MEAN) / LOG_STD
        expected = super(type(theirs), theirs).forward(standardised.flatten(1, 2))
    else:
        expected = theirs(audio)
    assert ours.hop == theirs.downsample_factor
    assert expected.shape == (2, 6, 16) and expected.std() > 0.05
    torch.testing.assert_close(ours(audio), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [dataclasses.replace(MAGNITUDE, spectrum="log_magnitude"), MAGNITUDE, MEL])
def test_silence_gives_finite_latents_and_gradients_and_touches_no_neighbour(config):
    torch.manual_seed(0)
    encoder = Encoder(config)
    audio = torch.randn(1, 2, 8 * config.hop)
    both = torch.cat([audio, torch.zeros_like(audio)]).requires_grad_()
    latents = encoder(both)
    latents.square().mean().backward()
    assert latents.isfinite().all() and both.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())
    torch.testing.assert_close(latents[:1], encoder(audio), atol=1e-6, rtol=1e-5)


def test_bfloat16_weights_follow_float32():
    torch.manual_seed(0)
    encoder = Encoder(MEL)
    audio = torch.randn(1, 2, 16 * MEL.hop)
    exact, half = encoder(audio), copy.deepcopy(encoder).to(torch.bfloat16)(audio)
    assert half.dtype == torch.float32
    assert (half - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_fft": 128}, "an odd number"),
        ({"spectrum": "mel", "n_fft": 127}, "an even number"),
        ({"factors": (2,)}, "n \\+ 1, n and n entries, came 3, 1, 2"),
        ({"channels": 12}, "multiples of resnet_groups"),
        ({"out_channels": 0}, "out_channels: expected at least 1"),
    ],
)
def test_a_config_checks_itself(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(MAGNITUDE, **changes)


@pytest.mark.parametrize("shape", [(1, 1, 1024), (1, 2, 1000), (2, 1024), (1, 2, 0)])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match="pad it"):
        Encoder(MAGNITUDE)(torch.zeros(shape))
