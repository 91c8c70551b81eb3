"""Loudness against closed forms and pyloudnorm, true peaks against closed forms and scipy, the limiter by what it promises."""

from __future__ import annotations

import math
import random
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pyloudnorm
import pytest
import torch
from scipy.signal import resample, resample_poly, sosfreqz
from torch import Tensor

from mousai.audio.loudness import Loudness, LoudnessMeter, gain_for, k_weighting, limited, measure

CEILING_DB = -1.0
LONGEST_REACH = 0.025  # seconds from a peak within which the limiter may change something


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sine(hz: float, rate: int, seconds: float, phase: float = 0.0) -> Tensor:
    times = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return torch.sin(2 * math.pi * hz * times + phase).float()


def piece(rate: int, seconds: float, channels: int, seed: int = 0) -> Tensor:
    """Something with loud, quiet and silent parts, so that both gates have work."""
    audio = 0.2 * noise(channels, round(seconds * rate), seed=seed) + 0.3 * sine(220, rate, seconds)
    levels = torch.tensor([1.0, 0.01, 0.4, 0.0, 0.0001, 0.7]).repeat_interleave(audio.shape[1] // 6 + 1)
    return audio * levels[: audio.shape[1]]


def cut(audio: Tensor, seed: int) -> Iterator[Tensor]:
    """The audio in blocks of all sorts of lengths, none at all among them."""
    draw, start = random.Random(seed), 0
    while start < audio.shape[1]:
        length = draw.choice([0, 1, 17, 480, 4410, 48_000, 100_000])
        yield audio[:, start : start + length]
        start += length


def limit(audio: Tensor, rate: int, gain: float) -> Tensor:
    return torch.cat(list(limited([audio], rate, gain, CEILING_DB)), dim=1)


def decibels(amplitude: float) -> float:
    return 20 * math.log10(amplitude)


def test_a_tone_at_minus_23() -> None:
    """EBU Tech 3341, test 1: a stereo sine of 1 kHz at -23 dBFS is -23.0 ±0.1 LUFS; a mono one is 3 LU below."""
    tone = 10 ** (-23 / 20) * sine(1000, 48_000, 20)
    assert measure([tone.repeat(2, 1)], 48_000, 2).integrated_lufs == pytest.approx(-23, abs=0.1)
    assert measure([tone[None]], 48_000, 1).integrated_lufs == pytest.approx(-26.01, abs=0.1)


def test_silence_around_a_tone_does_not_count() -> None:
    """EBU Tech 3341, tests 3 and 4: parts below the gates change nothing but the blocks that straddle the joins."""
    levels = [(-72, 4), (-36, 4), (-23, 24), (-36, 4), (-72, 4)]
    tones = [10 ** (level / 20) * sine(1000, 48_000, seconds).repeat(2, 1) for level, seconds in levels]
    assert measure(tones, 48_000, 2).integrated_lufs == pytest.approx(-23, abs=0.15)
    assert measure(tones[2:3], 48_000, 2).integrated_lufs == pytest.approx(-23, abs=0.05)


@pytest.mark.parametrize("rate", [48_000, 44_100, 22_050, 11_025])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.4, 0.44, 0.46, 7.0, 9.383])
def test_loudness_is_pyloudnorms(rate: int, channels: int, seconds: float) -> None:
    audio = piece(rate, seconds, channels)
    wanted = pyloudnorm.Meter(rate).integrated_loudness(audio.T.double().numpy())
    assert measure(cut(audio, 1), rate, channels).integrated_lufs == pytest.approx(wanted, abs=0.001)


def test_surround_channels_weigh_more() -> None:
    audio = piece(16_000, 3.0, 5)
    wanted = pyloudnorm.Meter(16_000).integrated_loudness(audio.T.double().numpy())
    assert measure([audio], 16_000, 5).integrated_lufs == pytest.approx(wanted, abs=0.001)


def test_what_is_measured_does_not_depend_on_the_cuts_or_on_reading_it() -> None:
    audio = piece(44_100, 9.7, 2)
    whole = measure([audio], 44_100, 2)
    for seed in range(3):
        meter = LoudnessMeter(44_100, 2)
        for block in cut(audio, seed):
            meter.add(block)
            assert meter.true_peak_db <= whole.true_peak_db
        assert meter.loudness == whole == meter.loudness


def test_nothing_to_measure() -> None:
    assert measure([], 48_000, 2) == measure([torch.zeros(2, 96_000)], 48_000, 2) == Loudness(-math.inf, -math.inf)
    assert measure([1e-5 * noise(1, 48_000)], 48_000, 1).integrated_lufs == -math.inf  # below the absolute gate
    short = torch.hann_window(19_000) * sine(997, 48_000, 19_000 / 48_000)
    assert measure([short[None]], 48_000, 1) == Loudness(-math.inf, pytest.approx(0, abs=0.05))


@pytest.mark.parametrize("rate", [48_000, 44_100, 22_050])
def test_true_peaks_of_tones(rate: int) -> None:
    """The samples of a tone at a quarter of the rate, at 45°, are all 3 dB below its peaks."""
    faded = torch.hann_window(rate)
    quarter = faded * sine(rate / 4, rate, 1.0, math.pi / 4)
    assert quarter.abs().max() < 0.708
    for tone in (quarter, faded * sine(997, rate, 1.0)):
        assert measure([tone[None]], rate, 1).true_peak_db == pytest.approx(0, abs=0.05)


def test_the_true_peak_is_that_of_the_band_limited_signal() -> None:
    for seed in range(5):
        spectrum = np.fft.rfft(noise(4096, seed=seed).numpy())
        spectrum[int(0.44 * 4096) :] = 0
        audio = np.hanning(4096) * np.fft.irfft(spectrum)
        wanted = decibels(np.abs(resample(audio, 4 * 4096)).max())
        assert measure([torch.from_numpy(audio)[None]], 48_000, 1).true_peak_db == pytest.approx(wanted, abs=0.05)


def test_a_true_peak_among_lower_samples_is_found() -> None:
    """Samples of 0.6 first, then samples of 0.5 with 0.707 between them, in the other channel."""
    audio = torch.zeros(2, 96_000)
    audio[0, :48_000] = 0.6 * torch.hann_window(48_000) * sine(100, 48_000, 1)
    audio[1, 48_000:] = 0.5**0.5 * torch.hann_window(48_000) * sine(12_000, 48_000, 1, math.pi / 4)
    assert audio[1].abs().max() < 0.51
    assert measure([audio], 48_000, 2).true_peak_db == pytest.approx(decibels(0.5**0.5), abs=0.05)


FALLING = [(-1) ** index * (1 - index / 20) for index in range(20)]  # its peak, 2.4 dB, is before its first sample


@pytest.mark.parametrize("swing", [FALLING, FALLING[::-1], [1.0, 1.0, -1.0, 1.0, 1.0], [1.0]])
def test_the_true_peak_is_the_same_wherever_it_lies(swing: list[float]) -> None:
    """At either end, where the filter makes peaks of silence, and around whole seconds, where windows meet."""

    def peak(place: int) -> float:
        audio = torch.zeros(1, 17_001)
        audio[0, place : place + len(swing)] = torch.tensor(swing)
        assert measure([limit(audio, 8000, 1.0)], 8000, 1).true_peak_db <= CEILING_DB + 0.05
        return measure([audio], 8000, 1).true_peak_db

    for place in (0, 1, 17_001 - len(swing), *range(7976, 8024, 3), *range(15_990, 16_010, 3)):
        assert peak(place) == pytest.approx(peak(5000), abs=1e-4)


def sparse(rate: int) -> Tensor:
    return noise(2, 2 * rate) * torch.rand(2, 2 * rate, generator=torch.Generator().manual_seed(1)) ** 40


def impulses(rate: int) -> Tensor:
    audio = torch.zeros(2, 2 * rate)
    audio[0, 0] = audio[1, -1] = 1.0
    audio[0, rate // 3] = audio[1, rate :: rate // 70] = -1.0
    return audio


LOUD: dict[str, Callable[[int], Tensor]] = {
    "clipped noise": lambda rate: (2 * noise(2, 2 * rate)).clamp(-1, 1),
    "full-scale signs": lambda rate: noise(1, 2 * rate).sign(),
    "sparse noise": sparse,
    "impulses": impulses,
    "square wave": lambda rate: sine(997, rate, 2.0, 0.3).sign()[None],
    "low square wave": lambda rate: sine(41, rate, 2.0).sign().repeat(2, 1),
    "quarter of the rate": lambda rate: sine(rate / 4, rate, 2.0, math.pi / 4)[None],
}


@pytest.mark.parametrize("rate", [48_000, 44_100, 16_000])
@pytest.mark.parametrize("signal", LOUD)
def test_the_ceiling_is_held(signal: str, rate: int) -> None:
    audio = LOUD[signal](rate)
    out = limit(audio, rate, 4.0)
    assert out.shape == audio.shape and out.dtype == torch.float32
    peak = measure([out], rate, len(out)).true_peak_db
    assert CEILING_DB - 0.01 < peak < CEILING_DB + 0.05
    assert decibels(np.abs(resample_poly(out.numpy(), 4, 1, axis=1)).max()) < CEILING_DB + 0.1


@pytest.mark.parametrize("signal", LOUD)
def test_limiting_does_not_depend_on_the_cuts(signal: str) -> None:
    audio = LOUD[signal](44_100).repeat(1, 2)
    whole = limit(audio, 44_100, 2.0)
    for seed in range(3):
        assert torch.equal(torch.cat(list(limited(cut(audio, seed), 44_100, 2.0, CEILING_DB)), dim=1), whole)


@pytest.mark.parametrize("num_samples", [0, 1, 15, 16, 65_535, 65_536, 65_537, 67_000, 140_001])
def test_as_many_samples_come_out(num_samples: int) -> None:
    audio = noise(2, num_samples)
    assert limit(audio, 48_000, 1.0).shape == audio.shape if num_samples else not list(limited([audio], 48_000, 1.0, -1.0))


def test_quiet_audio_is_untouched() -> None:
    audio = noise(2, 150_000)
    gain = 0.85 * 10 ** (CEILING_DB / 20) / 10 ** (measure([audio], 48_000, 2).true_peak_db / 20)
    assert torch.equal(limit(audio, 48_000, gain), audio * gain)
    assert not list(limited([], 48_000, 1.0, CEILING_DB))


def test_only_the_surroundings_of_a_peak_are_touched_and_smoothly() -> None:
    rate, at = 48_000, 70_000
    audio = 0.1 + 0.02 * noise(2, 150_000)
    audio[1, at] = 3.0
    out = limit(audio, rate, 1.5)
    changed = (out != audio * 1.5).any(0).nonzero()
    assert at - LONGEST_REACH * rate < changed.min() < at - 400 and at + 400 < changed.max() < at + LONGEST_REACH * rate
    gains = out / (audio * 1.5)
    torch.testing.assert_close(gains[0], gains[1])  # one gain for all channels
    assert gains[0].diff().abs().max() < 0.002 and gains.max() < 1 + 1e-6
    assert gains[0, at] == pytest.approx(10 ** (CEILING_DB / 20) / 4.5, rel=0.05)
    torch.testing.assert_close(gains[0].flip(0)[150_000 - at :][:900], gains[0][at + 1 :][:900], atol=0.03, rtol=0)


def test_normalised_and_limited() -> None:
    """The two passes: measure, then bring to the target under the ceiling."""
    audio = 0.02 * piece(22_050, 10.0, 2)
    gain = gain_for(measure([audio], 22_050, 2), -20.0)
    after = measure(limited(cut(audio, 5), 22_050, gain, CEILING_DB), 22_050, 2)
    assert after.integrated_lufs == pytest.approx(-20, abs=0.1) and after.true_peak_db < CEILING_DB + 0.05


def test_gain_for_a_target() -> None:
    assert gain_for(Loudness(-20.0, -3.0), -14.0) == pytest.approx(10 ** (6 / 20))
    assert gain_for(Loudness(-20.0, -3.0), None) == gain_for(Loudness(-math.inf, -math.inf), -14.0) == 1.0


def test_memory_does_not_grow_with_the_length() -> None:
    def peak(seconds: int) -> int:
        blocks = (noise(2, 8000, seed=index) for index in range(seconds))
        tracemalloc.start()
        measure(limited(blocks, 8000, 1.0, CEILING_DB), 8000, 2)
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return memory

    peak(1)
    assert peak(200) < peak(20) + 500_000  # 180 s of audio are 11.5 MB


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (torch.zeros(100), r"\(c, s\) of .*channels, came float32 \(100,\)"),
        (torch.zeros(100, 2), r"came float32 \(100, 2\)"),
        (torch.zeros(1, 2, 100), r"came float32 \(1, 2, 100\)"),
        (torch.zeros(0, 100), r"came float32 \(0, 100\)"),
        (torch.zeros(2, 100, dtype=torch.int16), "expected float audio .* came int16"),
        (torch.tensor([[0.0, math.nan], [0.0, 0.0]]), "NaN or infinite"),
        (torch.tensor([[0.0, 0.0], [-math.inf, 0.0]]), "NaN or infinite"),
    ],
)
def test_what_cannot_be_measured_or_limited(audio: Tensor, message: str) -> None:
    meter = LoudnessMeter(48_000, 2)
    with pytest.raises(ValueError, match=message):
        meter.add(audio)
    assert meter.num_samples == 0
    with pytest.raises(ValueError, match=message):
        list(limited([audio], 48_000, 1.0, CEILING_DB))


def test_wrong_settings() -> None:
    for rate, channels in ((1000, 2), (48_000, 0), (48_000, 6)):
        with pytest.raises(ValueError, match=f"came {rate} Hz and {channels} channels"):
            LoudnessMeter(rate, channels)
    for gain, ceiling_db, rate in ((math.nan, -1.0, 48_000), (-1.0, -1.0, 48_000), (1.0, math.inf, 48_000), (1.0, -1.0, 0)):
        with pytest.raises(ValueError, match="finite ceiling"):
            limited([], rate, gain, ceiling_db)
    with pytest.raises(ValueError, match="2 channels, came float32"):
        list(limited([torch.zeros(2, 10), torch.zeros(1, 10)], 48_000, 1.0, CEILING_DB))


def test_the_weighting_is_that_of_the_standard() -> None:
    """ITU-R BS.1770-4, annex 1, tables 1 and 2: its coefficients at 48 kHz, by their response."""
    table = [
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585],
        [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621],
    ]
    hertz = np.array([30.0, 60, 200, 997, 2000, 5000, 10_000, 20_000])
    ours, theirs = (np.abs(sosfreqz(sections, hertz, fs=48_000)[1]) for sections in (k_weighting(48_000), table))
    assert 20 * np.log10(ours / theirs) == pytest.approx(0, abs=0.05)
