import pytest
import torch

from mousai.codecs.magnitude.features import FeatureConfig, Features, istft, overlap_add, stft
from mousai.networks.transforms import mid_side


def test_features_have_a_frame_a_hop(small):
    features = Features(small.features, 2, 8000)
    found = features(0.1 * torch.randn(3, 2, 640))
    assert found.shape == (3, 2 * (64 + 6 * 2), 10) and features.width == 152
    assert features.slow(found).shape == (3, 2, 64, 10) and features.fast(found).shape == (3, 2, 6, 20)


def test_parts_are_what_the_spectra_say(small):
    torch.manual_seed(0)
    features, audio = Features(small.features, 2, 8000), 0.1 * torch.randn(2, 2, 1280)
    found, x = features(audio), mid_side(audio)
    for item in range(2):
        for channel in range(2):
            magnitude = stft(x[item, channel][None], 256, 64, torch.hann_window(256)).abs().log()[0]
            torch.testing.assert_close(features.slow(found)[item, channel, :32], magnitude[:32])
            torch.testing.assert_close(features.slow(found)[item, channel, 33], magnitude[34:36].mean(0))
            fast = features.band_levels(stft(x[item, channel][None], 128, 32, torch.hann_window(128)))[0]
            torch.testing.assert_close(features.fast(found)[item, channel], fast)


def test_ungrouped_rows_group_to_the_same(small):
    features, slow = Features(small.features, 2, 8000), torch.randn(2, 2, 64, 5)
    full = features.ungrouped(slow)
    assert full.shape == (2, 2, 129, 5)
    torch.testing.assert_close(features.grouped(full), slow)


def test_stft_is_torchs_with_frames_in_the_middle_of_hops():
    x, window = torch.randn(2, 1024), torch.hann_window(256)
    theirs = torch.stft(torch.nn.functional.pad(x, (96, 96)), 256, 64, window=window, center=False, return_complex=True)
    torch.testing.assert_close(stft(x, 256, 64, window), theirs, atol=1e-4, rtol=1e-4)


def test_istft_undoes_stft():
    x, window = torch.randn(2, 1024), torch.hann_window(256)
    torch.testing.assert_close(istft(stft(x, 256, 64, window), 256, 64, window), x, atol=1e-4, rtol=1e-4)


def test_overlap_add_is_a_sum_of_shifted_frames():
    frames = torch.randn(2, 5, 8)
    expected = torch.zeros(2, 16)
    for index in range(5):
        expected[:, 2 * index : 2 * index + 8] += frames[:, index]
    torch.testing.assert_close(overlap_add(frames, 2), expected)


def test_a_tone_has_the_level_of_its_band():
    features = Features(FeatureConfig(), 1, 48000)
    time = torch.arange(8192) / 48000
    level = features.fast(features(torch.sin(2 * torch.pi * 1000 * time)[None, None]))[0, 0, :, 16]
    power = (torch.hann_window(1024).sum() / 2) ** 2  # of the peak's bin
    assert level.argmax() == features.filters[:, round(1000 * 1024 / 48000)].argmax()
    assert 0.5 * torch.log(power * features.filters.max()) - 1 < level.max() < 0.5 * torch.log(power)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ((32, 1),)}, "n_fft / 2"),
        ({"fast_hop": 24}, "divisor of hop"),
        ({"n_fft": 320, "hop": 128, "groups": ((160, 1),)}, "two hops or more"),
        ({"power_floor": 0.0}, "floors above 0"),
    ],
)
def test_configs_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        FeatureConfig(**{"n_fft": 256, "hop": 64, "groups": ((128, 1),), "fast_n_fft": 128, "fast_hop": 32, **change})


def test_more_bands_than_bins_are_refused():
    with pytest.raises(ValueError, match="bands: 400 are too many"):
        Features(FeatureConfig(bands=400), 2, 48000)
