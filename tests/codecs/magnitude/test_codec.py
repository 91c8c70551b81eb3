import copy
from dataclasses import replace

import pytest
import torch

from mousai import config
from mousai.codecs.magnitude.codec import MagnitudeCodec
from mousai.codecs.magnitude.components import feature_weights
from mousai.codecs.magnitude.config import MagnitudeConfig


@pytest.fixture
def codec(fitted) -> MagnitudeCodec:
    """With weights from chance where training would have moved them from 0."""
    torch.manual_seed(0)
    codec = copy.deepcopy(fitted)
    for layer in (codec.decoder.unet.exit, codec.decoder.reader.correction):
        torch.nn.init.normal_(layer.weight, std=0.02)
    return codec


@pytest.mark.parametrize("length", [1, 255, 256, 257, 5_000, 12_345])
def test_what_goes_in_comes_out_as_long(codec, length):
    audio = 0.1 * torch.randn(2, 2, length)
    latents = codec.encode(audio)
    assert latents.shape == (2, 16, -(-length // 256))
    decoded = codec.decode(latents, length)
    assert decoded.shape == audio.shape and decoded.isfinite().all()


def test_cuts_make_no_difference(codec, notes):
    audio = notes(1, 30_000)
    latents = codec.encode(audio)
    pieces = list(codec.encode_stream(audio.split(7_777, dim=-1)))
    assert torch.equal(torch.cat(pieces, -1), latents)
    streamed = codec.decode_stream(latents.split(5, dim=-1), seeds=[3])
    assert torch.equal(torch.cat(list(streamed), -1)[..., :30_000], codec.decode(latents, 30_000, seeds=[3]))


def test_windows_of_the_encoder_see_all_that_they_need(codec, notes):
    """Latents of a long piece are those of the same music seen whole."""
    audio = notes(1, 40_960)
    torch.testing.assert_close(codec.encode(audio), codec.encode(audio, whole=True), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_frames", [3, 16, 20, 21, 51, 53, 68, 69])
def test_decoding_goes_on_from_any_sample_to_the_bit(codec, num_frames):
    """The grid is of 16 frames of 256 samples, 4 more on each side; also where the last window is but a few frames."""
    latents = torch.randn(1, 16, num_frames)
    whole = codec.decode(latents, seeds=[3])
    starts = {sample: codec.resume(sample) for frame in range(num_frames) for sample in (frame * 256, frame * 256 + 255)}
    assert all(0 <= first <= sample < first + (16 + 4 + 2) * 256 for sample, (_, _, first) in starts.items())
    for start, frame, first in set(starts.values()):
        rest = codec.decode_stream(latents[..., frame:].split(5, dim=-1), seeds=[3], start=start)
        assert torch.equal(torch.cat(list(rest), -1), whole[..., first:])


@pytest.mark.parametrize("batch", [2, 64])
def test_windows_can_be_decoded_together(codec, batch, notes):
    latents = codec.encode(notes(2, 75 * 256))
    whole = codec.decode(latents, seeds=[3, 8])
    pieces = list(codec.decode_stream(latents.split(13, dim=-1), seeds=[3, 8], batch=batch))
    torch.testing.assert_close(torch.cat(pieces, -1), whole, atol=1e-4, rtol=1e-3)


def test_steps_are_counted_for_every_window(codec):
    for batch in (1, 3):
        heard = []
        list(codec.decode_stream([torch.randn(1, 16, 75)], callback=lambda *now: heard.append(now), num_frames=75, batch=batch))
        dones, totals = zip(*heard)
        assert heard[-1] == (10, 10) and set(totals) == {10} and all(a <= b for a, b in zip(dones, dones[1:]))


def test_an_item_is_the_same_in_any_batch(codec, notes):
    latents = codec.encode(notes(2, 24 * 256))
    both, alone = codec.decode(latents, seeds=[5, 9]), codec.decode(latents[1:], seeds=[9])
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(codec.decode(latents[1:], seeds=[8]), alone, atol=1e-3)


def test_joins_of_windows_are_as_level_as_the_rest(codec):
    """A lasting tone stays as loud where windows are crossfaded: both have the same phases there."""
    time = torch.arange(80 * 256) / 8000
    tone = (0.1 * torch.sin(2 * torch.pi * 440 * time) + 1e-3 * torch.randn(len(time))).expand(1, 2, -1)
    decoded = codec.decode(codec.encode(tone), seeds=[1])[0]
    level = decoded.square().mean(0).unflatten(0, (-1, 256)).mean(1).log10() * 10  # by latent frame
    joins = torch.cat([level[16 * k - 2 : 16 * k + 2] for k in (1, 2, 3, 4)])
    between = torch.cat([level[16 * k + 5 : 16 * k + 12] for k in (0, 1, 2, 3)])
    assert joins.min() > between.min() - 1.0


def test_the_network_can_compute_in_half_precision(codec, notes):
    latents = codec.encode(notes(1, 24 * 256))
    whole = codec.decode(latents)
    codec.set_precision(torch.bfloat16)
    assert codec.dtype == torch.bfloat16
    half = codec.decode(latents)
    assert half.dtype == torch.float32 and (half - whole).square().mean() < 0.2 * whole.square().mean()


def test_decoding_uses_what_is_compiled(codec, monkeypatch):
    """The reader once a window, the U-Net once a step."""
    calls, latents = [], torch.randn(1, 16, 12)
    wanted = codec.decode(latents, seeds=[3])
    monkeypatch.setattr(torch, "compile", lambda run, **options: lambda *given, **named: calls.append(options) or run(*given, **named))
    codec.compile()
    assert torch.equal(codec.decode(latents, seeds=[3]), wanted) and calls == [{"dynamic": True}] * 3
    assert torch.equal(copy.deepcopy(codec).decode(latents, seeds=[3]), wanted) and len(calls) == 3  # a copy is as it was built


def test_loss_draws_everything_from_the_generator(codec, notes):
    audio = notes(2)
    first = codec.loss(audio, torch.Generator().manual_seed(1))[0]
    assert torch.equal(codec.loss(audio, torch.Generator().manual_seed(1))[0], first)
    assert not torch.equal(codec.loss(audio, torch.Generator().manual_seed(2))[0], first)


def test_latents_leave_at_unit_variance(fitted, notes):
    latents = fitted.encode(notes(8))
    assert latents.mean((0, 2)).abs().max() < 0.3
    assert (latents.std((0, 2)) - 1).abs().max() < 0.3


def test_the_first_codec_knows_its_music(fitted, notes):
    """Before any training step the decoded spectrum is that of the music, not that of another piece."""
    audio = notes(2, 16_384)
    decoded = fitted.decode(fitted.encode(audio))
    features = [fitted.features(x)[..., 8:-8] for x in (audio, decoded)]
    mid = [x[:, :32] for x in features]  # the rows of tones
    assert (mid[0] - mid[1]).abs().mean() < 0.6 * (mid[0] - mid[1].flip(0)).abs().mean()


def test_training_betters_the_first_codec(fitted, notes):
    codec = copy.deepcopy(fitted).train()
    audio = notes(4)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=3e-3)
    losses = []
    for step in range(80):
        loss, parts = codec.loss(audio, torch.Generator().manual_seed(step % 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert {"diffusion", "rest"} == parts.keys()
    assert sum(losses[-4:]) < 0.85 * sum(losses[:4])


def test_latents_do_not_depend_on_the_decoder(codec):
    kept = [name for name in codec.state_dict() if name.split(".")[0] in codec.LATENT_PARTS]
    assert set(kept) == {"components.mean", "components.analysis", "components.synthesis"}
    assert not any(name.startswith("components") for name, _ in codec.named_parameters())


def test_wrong_audio_and_lengths_are_refused(codec):
    with pytest.raises(ValueError, match=r"expected audio \(b, 2, s\)"):
        codec.encode(torch.zeros(1, 1, 5000))
    with pytest.raises(ValueError, match="1 … 512 samples; asked for 513"):
        codec.decode(torch.zeros(1, 16, 2), 513)
    with pytest.raises(ValueError, match="crop_samples: expected at least 2048"):
        codec.loss(torch.zeros(1, 2, 2000), torch.Generator())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 3}, "1 or 2 channels"),
        ({"train_frames": 3}, "train_frames: expected 2 and a multiple of 2"),
        ({"decode": {"stride_frames": 17, "context_frames": 4}}, "decode.stride_frames: expected a multiple of 2"),
        ({"decode": {"stride_frames": 16, "context_frames": 10}}, "context_frames of 0 to half"),
        ({"decode": {"stride_frames": 16, "context_frames": 0}}, "decode.context_frames: expected at least 2"),
        ({"features": {"groups": [[512, 1]]}}, "n_fft / 2 = 2048 bins"),
        ({"unet": {"patch": 3}}, "multiple of patch"),
        ({"latent_nose": 0.1}, "latent_noise"),
    ],
)
def test_configs_that_do_not_fit_are_refused(change, message, small):
    data = config.to_dict(small) | change
    with pytest.raises(ValueError, match=message):
        MagnitudeCodec(config.from_dict(MagnitudeConfig, data))


def test_one_channel_will_do(notes, small):
    small = config.from_dict(MagnitudeConfig, config.to_dict(small) | {"channels": 1})
    codec = MagnitudeCodec(small)
    codec.initialise([notes(4)[:, :1]])
    audio = notes(1, 3000)[:, :1]
    assert codec.decode(codec.encode(audio), 3000).shape == audio.shape


def test_silence_stays_quiet(fitted, notes):
    decoded = fitted.decode(fitted.encode(torch.zeros(1, 2, 20_000)), 20_000)
    assert decoded.square().mean().sqrt() < 3e-3 * notes(1).square().mean().sqrt() / 0.03


def test_what_lasts_of_the_noise_is_cooled_and_the_rest_is_not(codec):
    noise = torch.randn(3, 5, 4)
    tempered = codec.tempered(noise)  # at 0.25 and 1
    torch.testing.assert_close(tempered.mean(-1), 0.25 * noise.mean(-1))
    torch.testing.assert_close(tempered - tempered.mean(-1, keepdim=True), noise - noise.mean(-1, keepdim=True))


def test_half_way_cold_noise_leaves_less_to_chance(fitted, notes):
    """Two seeds come out more alike in what lasts than at full temperature."""
    codec = copy.deepcopy(fitted)
    torch.nn.init.normal_(codec.decoder.unet.exit.weight, std=0.02)
    latents = codec.encode(notes(1, 24 * 256))
    apart = []
    for temperature in (0.0, 1.0):
        codec.config = replace(codec.config, decode=replace(codec.config.decode, temperature=temperature, grain_temperature=temperature))
        rows = [codec.features.slow(codec.features(codec.decode(latents, seeds=[seed])))[:, 0, :32] for seed in (1, 2)]
        apart.append((rows[0] - rows[1]).abs().mean().item())
    assert apart[0] < 0.9 * apart[1]


def test_strengths_say_how_far_a_latent_moves_the_weighed_features(codec):
    config = codec.config
    weights = feature_weights(config.components, config.features, 2, config.sample_rate)
    silence = torch.zeros(1, 16, 1)
    for channel in (0, 7, 15):
        moved = codec.components.decode(silence + torch.eye(16)[channel][None, :, None]) - codec.components.decode(silence)
        torch.testing.assert_close(codec.latent_strengths[channel], (weights @ moved[0]).norm())
    assert codec.latent_strengths.argmax() == 0
