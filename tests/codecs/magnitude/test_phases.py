import math

import pytest
import torch

from mousai.codecs.magnitude.features import FeatureConfig, Features, stft
from mousai.codecs.magnitude.phases import EXCESS, anchored, audio_of, bent, followed, gradients, integrated, levelled, limited

N, HOP = 1024, 256
CONFIG = FeatureConfig(n_fft=N, hop=HOP, groups=((512, 1),), fast_n_fft=256, fast_hop=64, bands=12)


@pytest.fixture
def features() -> Features:
    return Features(CONFIG, 1, 16000)


def tones(length: int = 64 * HOP) -> torch.Tensor:
    time = torch.arange(length) / 16000
    return sum(0.2 * torch.sin(2 * math.pi * hz * time + hz) for hz in (311.0, 1234.5, 3001.7))[None]


def spectrum(x: torch.Tensor) -> torch.Tensor:
    return stft(x, N, HOP, torch.hann_window(N))


def wrapped(x: torch.Tensor) -> torch.Tensor:
    return torch.remainder(x + math.pi, 2 * math.pi) - math.pi


def middle_phases(x: torch.Tensor) -> torch.Tensor:
    return spectrum(x).angle() - math.pi * torch.arange(N // 2 + 1)[:, None]


def test_magnitudes_tell_how_the_phases_of_tones_go_on():
    x = tones()
    log_magnitude = spectrum(x).abs().clamp(min=1e-4).log()
    along_time, _ = gradients(log_magnitude.transpose(1, 2), N, HOP)
    truth = middle_phases(x).transpose(1, 2).diff(dim=1)
    error = wrapped(truth - (along_time[:, 1:] + along_time[:, :-1]) / 2)[0, 8:-8]
    for hz in (311.0, 1234.5, 3001.7):
        assert error[:, round(hz * N / 16000)].abs().max() < 0.05


def test_magnitudes_tell_the_phases_across_a_click():
    """A click away from a frame's middle: phases fall evenly along frequency."""
    x = torch.zeros(1, 16 * HOP)
    x[0, 8 * HOP + HOP // 2 + 100] = 1.0  # 100 samples behind the middle of frame 8
    log_magnitude = spectrum(x).abs().clamp(min=1e-6).log()
    _, along_frequency = gradients(log_magnitude.transpose(1, 2), N, HOP)
    torch.testing.assert_close(along_frequency[0, 8, 100:400].mean().item(), -2 * math.pi * 100 / N, rtol=0.1, atol=0)


def test_phases_of_tones_are_found(features):
    """From the true phases of one frame, those of all others at the loud bins."""
    x = tones()
    log_magnitude = spectrum(x).abs().clamp(min=1e-4).log()
    found = anchored(log_magnitude, N, HOP, [20], [middle_phases(x)[..., 20]])
    error = wrapped(found - middle_phases(x))[..., 4:-4]
    loud = (log_magnitude > log_magnitude.max() - 1.5)[..., 4:-4]
    assert error[loud].abs().max() < 1.0


def test_two_anchors_are_both_met():
    torch.manual_seed(0)
    log_magnitude = spectrum(tones() + 0.01 * torch.randn(1, 64 * HOP)).abs().log()
    first = [2 * math.pi * torch.rand(1, N // 2 + 1) for _ in range(2)]
    phases = anchored(log_magnitude, N, HOP, [8, 50], first)
    for place, told in zip((8, 50), first):
        level = log_magnitude.transpose(1, 2)
        along_time, along_frequency = gradients(level, N, HOP)
        frame = (x[:, place : place + 1] for x in (level, along_time, along_frequency.cumsum(2)))
        expected = integrated(*frame, told)[0][:, 0]
        torch.testing.assert_close(wrapped(phases[..., place] - expected), torch.zeros_like(expected), atol=1e-2, rtol=0)


def test_windows_that_share_an_anchor_agree_around_it():
    """One window ends where the other begins, 6 frames seen by both on each side of the anchor."""
    torch.manual_seed(0)
    log_magnitude = spectrum(tones() + 0.01 * torch.randn(1, 64 * HOP)).abs().log()
    first = {place: 2 * math.pi * torch.rand(1, N // 2 + 1) for place in (0, 30, 60)}
    left = anchored(log_magnitude[..., :36], N, HOP, [0, 30], [first[0], first[30]])
    right = anchored(log_magnitude[..., 24:], N, HOP, [6, 36], [first[30], first[60]])
    loud = (log_magnitude > log_magnitude.max() - 1.5)[..., 26:34]
    assert wrapped(left[..., 26:34] - right[..., 2:10])[loud].abs().max() < 1.0


def test_bending_turns_a_partial_evenly():
    phases = torch.zeros(1, 11, 3)
    target = torch.full((1, 11, 3), 3.0)
    parents = torch.arange(3).expand(1, 11, 3)
    torch.testing.assert_close(bent(phases, target, parents), (3.0 * torch.linspace(0, 1, 11))[:, None].expand(1, 11, 3))


def test_bins_follow_the_peak_above_them():
    level = torch.tensor([0.0, 2, 5, 3, 1, 4, 6, 2]).expand(1, 3, 8)
    assert followed(level)[0, 2].tolist() == [2, 2, 2, 2, 6, 6, 6, 6]
    onset = level.clone()
    onset[:, :2] -= 10
    assert followed(onset)[0, 2].tolist() == [2, 2, 2, 2, 6, 6, 6, 6]
    fading = level.clone()
    fading[:, 1] += 10  # what was much louder than its neighbours are now goes its own way
    assert followed(fading)[0, 2].tolist() == list(range(8))


def test_griffin_lim_brings_the_magnitudes_nearer(features):
    torch.manual_seed(0)
    x = tones() + 0.02 * torch.randn(1, 64 * HOP)
    log_magnitude = spectrum(x).abs().clamp(min=1e-3).log()
    levels = features.fast(features(x[:, None]))[:, 0]
    phases = anchored(log_magnitude, N, HOP, [0], [2 * math.pi * torch.rand(1, N // 2 + 1)])
    errors = []
    for iterations in (1, 8):
        y = audio_of(features, log_magnitude, levels, phases, iterations)
        errors.append((spectrum(y).abs().clamp(min=1e-3).log() - log_magnitude)[..., 4:-4].abs().mean())
    assert errors[1] < 0.9 * errors[0] and errors[1] < 0.7


def test_levels_sharpen_an_attack(features):
    """Steady noise becomes a burst where the fast path says so."""
    torch.manual_seed(0)
    noise = 0.1 * torch.randn(1, 32 * HOP)
    burst = noise.clone()
    burst[:, : 16 * HOP] *= 0.1
    levels = features.fast(features(burst[:, None]))[:, 0]
    made = levelled(features, 0.1 * torch.randn(1, 32 * HOP), levels)
    before, after = made[:, 8 * HOP : 15 * HOP].std(), made[:, 17 * HOP : 24 * HOP].std()
    assert before < 0.15 * after


def test_bands_that_are_nearly_right_are_left_alone(features):
    """A gain that comes and goes within the tolerance is not put on; one that stays is."""
    torch.manual_seed(0)
    x = 0.1 * torch.randn(1, 64 * HOP)
    levels = features.fast(features(x[:, None]))[:, 0]
    flutter = 0.08 * torch.randn(levels.shape).sign()
    torch.testing.assert_close(levelled(features, x, levels + flutter - flutter.mean()), x, atol=0.03, rtol=0)
    louder = levelled(features, x, levels + 0.5)
    torch.testing.assert_close((louder.std() / x.std()).log().item(), 0.5, atol=0.05, rtol=0)


def test_levels_that_the_magnitudes_deny_make_no_click(features):
    """A generator's attack that is ten times as loud as its magnitudes say is brought down to them; what agrees with them stays."""
    torch.manual_seed(0)
    x = 0.1 * torch.randn(1, 64 * HOP)
    magnitude = spectrum(x).abs()
    torch.testing.assert_close(limited(features, x, magnitude), x, atol=1e-5, rtol=0)
    clicking = x.clone()
    clicking[:, 32 * HOP : 33 * HOP] *= 10
    made = spectrum(limited(features, clicking, magnitude)).abs().square().sum(1)
    louder = (made / magnitude.square().sum(1)).log() / 2
    assert louder.max() < EXCESS + 0.35 < (spectrum(clicking).abs().square().sum(1) / magnitude.square().sum(1)).log().max() / 2
    levels = features.fast(features(clicking[:, None]))[:, 0]
    phases = anchored(magnitude.clamp(min=1e-3).log(), N, HOP, [0], [2 * math.pi * torch.rand(1, N // 2 + 1)])
    assert audio_of(features, magnitude.log(), levels, phases, 2).abs().max() < 0.5 * clicking.abs().max()
