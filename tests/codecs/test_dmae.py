import pytest
import torch

from mousai import config
from mousai.codecs.dmae import DMAE, DecodeConfig, DMAEConfig, compress, expand, mel_density, positional_noise
from mousai.codecs.encoders import EncoderConfig
from mousai.codecs.prior import EnvelopePrior, PriorConfig, negative_log_likelihood
from mousai.networks.transforms import TransformConfig
from mousai.networks.unet1d import UNet1dConfig

DECODE = DecodeConfig(steps=2, stride_frames=16, context_frames=4)


def paper_like() -> DMAEConfig:
    """The paper's form in small: learned transform, linear magnitude, the waveform diffused."""
    return DMAEConfig(
        encoder=EncoderConfig(channels=16),
        unet=UNet1dConfig(
            in_channels=16, channels=(16,) * 5, factors=(1, 2, 2, 2, 2), items=(1,) * 5, inject_channels=(0, 0, 0, 0, 32)
        ),
        transform=TransformConfig(bands=8),
        decode=DECODE,
    )


def starter_like(**changes) -> DMAEConfig:
    """The shipped model's form in small: MDCT, log magnitude, envelope prior."""
    return DMAEConfig(
        encoder=EncoderConfig(
            spectrum="log_magnitude", bottleneck="batch_norm", channels=16, multipliers=(1, 1), factors=(2,), num_blocks=(1,),
            n_fft=2047, hop_length=512,
        ),
        unet=UNet1dConfig(
            in_channels=512, channels=(32, 32), factors=(1, 2), items=(1, 1), inject_channels=(16, 0), modulation_features=32
        ),
        transform=TransformConfig(type="mdct", bands=256),
        prior=PriorConfig(channels=16, blocks=1),
        stereo="mid_side",
        band_weights="mel",
        latent_noise=0.1,
        decode=DECODE,
        **changes,
    )  # fmt: skip


@pytest.fixture(params=[paper_like, starter_like])
def codec(request) -> DMAE:
    torch.manual_seed(0)
    codec = DMAE(request.param())
    codec.loss(0.1 * torch.randn(2, 2, 65536), torch.Generator().manual_seed(0))  # the prior's first look at a batch
    return codec.eval()


@pytest.mark.parametrize("length", [1, 1000, 1024, 1025, 30_000, 70_001])
def test_what_goes_in_comes_out_as_long(codec, length):
    audio = 0.1 * torch.randn(1, 2, length)
    latents = codec.encode(audio)
    assert latents.shape == (1, 32, -(-length // 1024))
    decoded = codec.decode(latents, length)
    assert decoded.shape == audio.shape and decoded.isfinite().all()


def test_cuts_make_no_difference(codec):
    audio = 0.1 * torch.randn(1, 2, 60_000)
    latents = codec.encode(audio)
    pieces = list(codec.encode_stream(audio.split(7_777, dim=-1)))
    assert torch.equal(torch.cat(pieces, -1), latents)
    streamed = codec.decode_stream(latents.split(5, dim=-1), seeds=[3])
    assert torch.equal(torch.cat(list(streamed), -1)[..., :60_000], codec.decode(latents, 60_000, seeds=[3]))


def test_an_item_is_the_same_in_any_batch(codec):
    latents = torch.randn(2, 32, 24)
    both, alone = codec.decode(latents, seeds=[5, 9]), codec.decode(latents[1:], seeds=[9])
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(codec.decode(latents[1:], seeds=[8]), alone, atol=1e-3)


def test_calibration_standardises_the_latents(codec):
    audio = 0.1 * torch.randn(4, 2, 65536)
    codec.calibrate([audio])
    latents = codec.encode(audio)
    assert latents.mean((0, 2)).abs().max() < 0.15
    assert (latents.std((0, 2)) - 1).abs().max() < 0.15


def test_loss_draws_everything_from_the_generator(codec):
    audio = 0.1 * torch.randn(2, 2, 65536)
    first = codec.loss(audio, torch.Generator().manual_seed(1))[0]
    assert torch.equal(codec.loss(audio, torch.Generator().manual_seed(1))[0], first)
    assert not torch.equal(codec.loss(audio, torch.Generator().manual_seed(2))[0], first)


def test_a_small_codec_learns_one_sound():
    """After a few steps on one sound its envelope is known: the prior's noise is far nearer to it than before."""
    torch.manual_seed(0)
    codec = DMAE(starter_like())
    time = torch.arange(32768) / 48000
    audio = (0.2 * torch.sin(2 * torch.pi * 1000 * time) * (time % 0.2 < 0.1)).expand(2, 2, -1)
    optimizer = torch.optim.Adam(codec.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        loss, logs = codec.loss(audio, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(logs["prior"]))
    assert losses[-1] < losses[0] - 0.5


def test_a_frozen_encoder_keeps_its_statistics():
    codec = DMAE(starter_like())
    codec.encoder.requires_grad_(False)
    codec.train()
    before = codec.encoder.standardise.running_mean.clone()
    codec.loss(0.1 * torch.randn(2, 2, 65536), torch.Generator().manual_seed(0))
    assert torch.equal(codec.encoder.standardise.running_mean, before)
    codec.encoder.requires_grad_(True)
    codec.train()
    codec.loss(0.1 * torch.randn(2, 2, 65536), torch.Generator().manual_seed(0))
    assert not torch.equal(codec.encoder.standardise.running_mean, before)


def test_noise_belongs_to_its_place():
    whole = positional_noise([1, 2], 0, 200, 3)
    assert torch.equal(positional_noise([2], 70, 150, 3), whole[1:, 70:150])
    assert abs(float(whole.std()) - 1) < 0.1 and not torch.equal(whole[0], whole[1])


def test_compression_is_undone():
    x = torch.linspace(-500, 500, 1001)
    torch.testing.assert_close(expand(compress(x)), x, rtol=1e-4, atol=1e-4)


def test_likelihood_is_least_at_the_true_scale_and_bounded_for_outliers():
    frames = torch.randn(1, 1, 100_000) * 0.01
    scales = torch.linspace(-7, -2, 51)
    losses = torch.stack([negative_log_likelihood(frames, scale).mean() for scale in scales])
    assert abs(float(scales[losses.argmin()]) - float(torch.tensor(0.01).log())) < 0.15
    assert negative_log_likelihood(torch.ones(1), torch.tensor([-9.0])) < 1000


def test_prior_starts_from_the_long_term_spectrum():
    prior = EnvelopePrior(PriorConfig(channels=8, blocks=0), 4, 6, 2)
    frames = torch.randn(2, 6, 5000) * torch.tensor([1.0, 0.1, 0.01, 1, 1, 1])[:, None]
    prior.initialise(frames)
    torch.testing.assert_close(prior.base.exp()[:3, 0], torch.tensor([1.0, 0.1, 0.01]), rtol=0.05, atol=0)
    log_scale, hidden = prior(torch.randn(2, 4, 7))
    assert log_scale.shape == (2, 6, 14) and hidden.shape == (2, 8, 14)


def test_mel_density_favours_low_bands():
    density = mel_density(512, 48000)
    assert abs(float(density.mean()) - 1) < 1e-5 and (density.diff() < 0).all()


def test_wrong_audio_and_lengths_are_refused(codec):
    with pytest.raises(ValueError, match=r"expected audio \(b, 2, s\)"):
        codec.encode(torch.zeros(1, 1, 5000))
    with pytest.raises(ValueError, match="1 … 2048 samples; asked for 2049"):
        codec.decode(torch.zeros(1, 32, 2), 2049)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": None}, "prior"),
        ({"transform": {"type": "mdct", "bands": 128}}, "unet.in_channels"),
        ({"channels": 1}, "encoder.in_channels"),
        ({"stero": "mid_side"}, "stereo"),
    ],
)
def test_configs_that_do_not_fit_are_refused(change, message):
    data = config.to_dict(starter_like()) | change
    with pytest.raises(ValueError, match=message):
        DMAE(config.from_dict(DMAEConfig, data))
