import copy

import pytest
import torch

from mousai import config
from mousai.codecs.dmae.codec import DMAE
from mousai.codecs.dmae.config import DecodeConfig
from mousai.codecs.dmae.encoders import EncoderConfig
from mousai.codecs.dmae.griffin_lim import consistent
from mousai.codecs.dmae.mdct import MDCTDMAE, MDCTConfig, MDCTDecodeConfig
from mousai.codecs.dmae.prior import PriorConfig, principal_components
from mousai.codecs.dmae.waveform import WaveformConfig, WaveformDMAE
from mousai.networks.transforms import TransformConfig
from mousai.networks.unet1d import UNet1dConfig
from mousai.randomness import positional_noise

DECODE = DecodeConfig(steps=2, stride_frames=16, context_frames=4)
WARM = MDCTDecodeConfig(steps=2, start=0.3, griffin_lim=3, stride_frames=16, context_frames=4)


def paper_like() -> WaveformConfig:
    """The paper's form in small: learned transform, linear magnitude, the waveform diffused."""
    return WaveformConfig(
        encoder=EncoderConfig(channels=16),
        unet=UNet1dConfig(
            in_channels=16, channels=(16,) * 5, factors=(1, 2, 2, 2, 2), items=(1,) * 5, inject_channels=(0, 0, 0, 0, 32)
        ),
        transform=TransformConfig(bands=8),
        decode=DECODE,
    )


def starter_like() -> MDCTConfig:
    """The shipped model's form in small: MDCT, log magnitude, envelope prior."""
    return MDCTConfig(
        encoder=EncoderConfig(
            spectrum="log_magnitude", bottleneck="none", linear="beside", channels=16, multipliers=(1, 1), factors=(4,),
            num_blocks=(1,), n_fft=1023, hop_length=256,
        ),
        unet=UNet1dConfig(
            in_channels=512, channels=(32, 32), factors=(1, 2), items=(1, 1), inject_channels=(16, 0), modulation_features=32
        ),
        transform=TransformConfig(type="mdct", bands=256),
        prior=PriorConfig(channels=16, blocks=1),
        stereo="mid_side",
        band_weights="mel",
        latent_noise=0.1,
        decode=WARM,
    )  # fmt: skip


def of_waveform() -> DMAE:
    return WaveformDMAE(paper_like())


def of_mdct() -> DMAE:
    codec = MDCTDMAE(starter_like())
    codec.initialise([0.1 * torch.randn(2, 2, 65536)])
    return codec


@pytest.fixture(scope="module", params=[of_waveform, of_mdct])
def built(request) -> DMAE:
    torch.manual_seed(0)
    return request.param().eval()


@pytest.fixture
def codec(built) -> DMAE:
    torch.manual_seed(0)
    return copy.deepcopy(built)


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


@pytest.mark.parametrize("num_frames", [3, 16, 20, 21, 51, 53, 68, 69])
def test_decoding_goes_on_from_any_sample_to_the_bit(codec, num_frames):
    """The grid is of 16 frames of 1024 samples, 4 more on each side; also where the last window is but a few frames."""
    latents = torch.randn(1, 32, num_frames)
    whole = codec.decode(latents, seeds=[3])
    starts = {sample: codec.resume(sample) for frame in range(num_frames) for sample in (frame * 1024, frame * 1024 + 1023)}
    assert all(0 <= first <= sample < first + (16 + 4 + 2) * 1024 for sample, (_, _, first) in starts.items())
    for start, frame, first in set(starts.values()):
        rest = codec.decode_stream(latents[..., frame:].split(5, dim=-1), seeds=[3], start=start)
        assert torch.equal(torch.cat(list(rest), -1), whole[..., first:])


@pytest.mark.parametrize("batch", [2, 3, 64])
def test_windows_can_be_decoded_together(codec, batch):
    latents = torch.randn(2, 32, 75)
    whole = codec.decode(latents, seeds=[3, 8])
    pieces = list(codec.decode_stream(latents.split(13, dim=-1), seeds=[3, 8], batch=batch))
    torch.testing.assert_close(torch.cat(pieces, -1), whole, atol=1e-5, rtol=1e-4)
    start, frame, first = codec.resume(50_000)
    rest = codec.decode_stream(latents[..., frame:].split(13, dim=-1), seeds=[3, 8], batch=batch, start=start)
    torch.testing.assert_close(torch.cat(list(rest), -1), whole[..., first:], atol=1e-5, rtol=1e-4)


def test_steps_are_counted_for_every_window(codec):
    for batch in (1, 3):
        heard = []
        list(codec.decode_stream([torch.randn(1, 32, 75)], callback=lambda *now: heard.append(now), num_frames=75, batch=batch))
        dones, totals = zip(*heard)
        assert heard[-1] == (10, 10) and set(totals) == {10} and all(a <= b for a, b in zip(dones, dones[1:]))


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


def bursts(b: int) -> torch.Tensor:
    """Noise that comes and goes, at another pitch and pace in each item."""
    generator = torch.Generator().manual_seed(b)
    time = torch.arange(32768) / 48000
    tones = [torch.sin(2 * torch.pi * 400 * 1.7**i * time) * (time % (0.1 + 0.05 * i) < 0.05) for i in range(b)]
    return 0.2 * torch.stack(tones)[:, None].expand(b, 2, -1) + 1e-3 * torch.randn(b, 2, 32768, generator=generator)


def test_a_codec_begins_as_the_best_linear_one():
    """Before any training, the prior's scale is far nearer to the sound's spectrum than its long-term mean is."""
    codec, audio = MDCTDMAE(starter_like()), bursts(6)
    codec.initialise([audio[:3], audio[3:]])
    target = codec.target_log_scale(codec.encoder.spectrum(codec.looked_at(audio)))
    told = (codec.prior(codec.latents(audio))[0] - target).abs().mean()
    assert told < 0.75 * (target - target.mean((0, 2), keepdim=True)).abs().mean()


def test_the_target_scale_is_that_of_noise_with_the_same_spectrum():
    codec = MDCTDMAE(starter_like())
    noise = 0.05 * torch.randn(4, 2, 65536)
    target = codec.target_log_scale(codec.encoder.spectrum(noise))
    assert abs(float(target.mean()) - float(torch.tensor(0.05).log())) < 0.02


def test_training_betters_the_first_codec():
    torch.manual_seed(0)
    codec, audio = MDCTDMAE(starter_like()), bursts(4)
    codec.initialise([audio])
    optimizer = torch.optim.Adam(codec.parameters(), lr=2e-3)
    losses = []
    for step in range(30):
        loss, logs = codec.loss(audio, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append((float(logs["prior"]), float(logs["diffusion"])))
    before, after = (torch.tensor(part).mean(0) for part in (losses[:5], losses[-5:]))
    assert (after < before).all()


def test_a_codec_that_begins_from_audio_is_asked_for_it_once():
    """A copy, as an average of weights is one, knows it too; and so does one that was given trained weights."""
    codec, audio = MDCTDMAE(starter_like()), bursts(2)
    with pytest.raises(ValueError, match="call initialise"):
        codec.loss(audio, torch.Generator())
    trained = MDCTDMAE(starter_like())
    codec.initialise([audio])
    trained.load_state_dict(codec.state_dict())
    for each in (codec, copy.deepcopy(codec), trained):
        before = each.prior.base.clone()
        each.loss(audio, torch.Generator())
        assert torch.equal(each.prior.base, before)


def test_principal_components_are_those_of_the_data():
    """Against the singular vectors: equal reconstruction, unit coordinates."""
    spectra = torch.randn(2, 6, 400) * torch.tensor([5.0, 3, 1, 0.1, 0.1, 0.1])[:, None] + 3
    weights = torch.tensor([1.0, 1, 1, 2, 1, 1])[:, None]
    found = principal_components(spectra, weights, 4, 2)
    blocks = spectra.unflatten(2, (-1, 2)).transpose(1, 2).flatten(0, 1)  # (b l, 6, 2)
    centred = blocks - found.mean[:, None]
    coordinates = torch.einsum("nfr,dfr->nd", centred, found.analysis)
    torch.testing.assert_close(coordinates.T @ coordinates / len(coordinates), torch.eye(4), atol=1e-3, rtol=0)
    again = torch.einsum("nd,dfr->nfr", coordinates, found.synthesis)
    u, s, v = torch.linalg.svd((centred * weights.sqrt()).flatten(1), full_matrices=False)
    best = ((u[:, :4] * s[:4]) @ v[:4]).unflatten(1, (6, 2)) / weights.sqrt()
    torch.testing.assert_close(again, best, atol=1e-3, rtol=1e-3)


def test_noise_belongs_to_its_place():
    whole = positional_noise([1, 2], 0, 200, 3)
    assert torch.equal(positional_noise([2], 70, 150, 3), whole[1:, 70:150])
    assert abs(float(whole.std()) - 1) < 0.1 and not torch.equal(whole[0], whole[1])


def test_compression_is_undone_and_has_unit_variance():
    codec, audio = MDCTDMAE(starter_like()), bursts(4)
    codec.initialise([audio])
    frames = codec.transform.analysis(audio)[..., :-1]
    log_scale = torch.full_like(frames, 0.0)
    torch.testing.assert_close(codec.expand(codec.compress(frames, log_scale), log_scale), frames, rtol=1e-3, atol=1e-5)
    assert codec.expand(torch.full_like(frames, 1e3), log_scale).max() < 17  # a slip of the decoder stays bounded
    fitted = codec.prior.base + codec.prior.linear(codec.encoder.linear(codec.encoder.spectrum(codec.looked_at(audio))))
    torch.testing.assert_close(codec.compress(frames, fitted).std((0, 2)), torch.ones(512), rtol=0.02, atol=0)


def test_griffin_lim_brings_the_magnitudes_nearer():
    """A tone's envelope on noise becomes a tone: magnitudes near what was asked for."""
    time = torch.arange(65536) / 48000
    tone = (0.3 * torch.sin(2 * torch.pi * 1000 * time) + 1e-3 * torch.randn(65536)).expand(1, 2, -1)
    codec = MDCTDMAE(starter_like())
    log_scale = codec.target_log_scale(codec.encoder.spectrum(codec.looked_at(tone)))
    rough = codec.transform.synthesis(torch.nn.functional.pad(torch.randn_like(log_scale) * log_scale.exp(), (0, 1)))

    def error(audio):
        return (codec.target_log_scale(codec.encoder.spectrum(codec.looked_at(audio))) - log_scale)[:, :256].abs().mean()

    assert error(consistent(rough, log_scale, 16)) < 0.7 * error(rough)


def test_wrong_audio_and_lengths_are_refused(codec):
    with pytest.raises(ValueError, match=r"expected audio \(b, 2, s\)"):
        codec.encode(torch.zeros(1, 1, 5000))
    with pytest.raises(ValueError, match="1 … 2048 samples; asked for 2049"):
        codec.decode(torch.zeros(1, 32, 2), 2049)


@pytest.mark.parametrize(
    ("shape", "change", "message"),
    [
        (starter_like, {"prior": None}, "prior"),
        (starter_like, {"transform": {"type": "learned", "bands": 256}}, "transform.type: expected mdct"),
        (paper_like, {"transform": {"type": "mdct", "bands": 8}}, "transform.type: expected learned"),
        (starter_like, {"transform": {"type": "mdct", "bands": 128}}, "encoder.hop_length"),
        (starter_like, {"channels": 1}, "encoder.in_channels"),
        (paper_like, {"channels": 1}, "encoder.in_channels"),
        (paper_like, {"unet": {**config.to_dict(paper_like().unet), "out_channels": 3}}, "unet.out_channels: expected as many as in_channels"),
        (starter_like, {"unet": {**config.to_dict(starter_like().unet), "out_channels": 3}}, "unet.out_channels: expected as many as in_channels"),
        (paper_like, {"stero": "mid_side"}, "stereo"),
        (paper_like, {"decode": {"griffin_lim": 3}}, "unknown key 'decode.griffin_lim'"),
        (starter_like, {"decode": {"griffin_lim": 3}}, "start: below 1 it needs griffin_lim"),
        (starter_like, {"band_groups": 3}, "band_groups: expected a divisor of the 256"),
    ],
)
def test_configs_that_do_not_fit_are_refused(shape, change, message):
    data = config.to_dict(shape()) | change
    with pytest.raises(ValueError, match=message):
        config.from_dict(type(shape()), data)
