import math

import pytest
import torch

from mousai.evaluation import lines

RATE = 48000


def music(seed: int = 0, seconds: float = 2.0) -> torch.Tensor:
    """Chords of harmonic tones that change every half second, over soft noise, `(2, s)`."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(round(seconds * RATE)) / RATE
    audio = 0.01 * torch.randn(2, len(time), generator=generator)
    for start in torch.arange(0, seconds, 0.5).tolist():
        held = ((time >= start) & (time < start + 0.5)).float()
        for hz in 110 * 2 ** (torch.randint(0, 24, (3,), generator=generator) / 12):
            audio += 0.05 * held * sum(torch.sin(2 * math.pi * hz * k * time) / k for k in range(1, 9))
    return audio


def test_a_clip_is_nearest_to_itself():
    clip = music()
    found = lines.measure([clip, music(1)], [clip, clip], RATE)
    assert found.keys() == lines.MEASURES.keys()
    for name in (*lines.BANDS_HZ, "peaks_kept", "pulse_kept", "chroma_kept", "key_kept", "key_fits"):
        assert found[name][0] == pytest.approx(1)
    assert found["chroma_kept"][1] < 0.9
    for name in lines.BANDS_HZ:
        assert found[name][1] < 0.7
    assert found["peaks_kept"][1] < 0.8


def test_lines_do_not_depend_on_level_or_noise():
    clip = music()
    other = 0.3 * (clip + 0.01 * torch.randn(clip.shape, generator=torch.Generator().manual_seed(3)))
    assert all(lines.measure([other], [clip], RATE)[name][0] > 0.8 for name in ("lines_low", "lines_mid"))


def test_noise_has_grain_and_a_tone_has_none():
    noise = 0.1 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
    spread = lines.grain(lines.log_magnitude(noise)[:300])
    # Of the log of an exponential's root the standard deviation is pi / sqrt(24) nepers; the mean over frames takes some.
    assert 0.85 < spread / (8.686 * math.pi / math.sqrt(24)) < 1.0
    tone = torch.sin(2 * math.pi * 1000 * torch.arange(RATE) / RATE)[None]
    assert lines.grain(lines.log_magnitude(tone)[:300, 4:-4]) < 0.5


def test_peaks_count_within_a_bin():
    level = torch.zeros(200, 3)
    level[10::10] = torch.arange(19.0)[:, None] + 1  # 19 peaks a frame
    assert lines.strongest_peaks(level).sum(0).tolist() == [19] * 3
    assert lines.peaks_kept(level.roll(1, 0), level) == 1
    assert lines.peaks_kept(level.roll(3, 0), level) == 0


def test_tones_are_peaky_and_noise_is_not():
    noise = 0.1 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
    tones, grain = (lines.peakiness(lines.log_magnitude(x)[6:512]) for x in (music()[:1] + 0, noise))
    assert tones > grain + 3 and lines.peakiness(torch.zeros(300, 4)) == 0


def test_a_table_has_a_line_a_row():
    row = {name: {"mean": 0.5} for name in lines.MEASURES}
    first, _, line = lines.table({"ours": row}).splitlines()
    assert first.count("|") == line.count("|") and line.startswith("| ours | 0.50 | ") and line.count("50 %") == 4


def test_silence_is_measured_too():
    silence = torch.zeros(2, RATE)
    assert lines.measure([silence], [silence], RATE)["lines_low"] == [0]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="as many candidates as references"):
        lines.measure([], [], RATE)
    with pytest.raises(ValueError, match="at least 8192 samples"):
        lines.measure([torch.zeros(1, 4096)], [torch.zeros(1, 4096)], RATE)
