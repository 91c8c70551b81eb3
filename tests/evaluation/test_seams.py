"""Seams are found where there are some, and only there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import sosfilt
from torch import Tensor

from mousai.audio.loudness import k_weighting
from mousai.evaluation.seams import Boundaries, k_weights, seam_score, sight, table

RATE = 16000
EVERY, SECONDS = 6.0, 66.0
BOUNDARIES = Boundaries.within(SECONDS, EVERY).seconds


def noise(seed: int = 0, seconds: float = SECONDS) -> Tensor:
    return 0.1 * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def chords(seed: int, seconds: float = SECONDS) -> Tensor:
    """Triads of 0.43 s from random roots, each with its own decay."""
    generator, time = torch.Generator().manual_seed(seed), torch.arange(round(0.43 * RATE)) / RATE
    found = []
    for _ in range(round(seconds / 0.43) + 1):
        root, fall = torch.rand(2, generator=generator).tolist()
        tones = [torch.sin(2 * math.pi * 220 * 2 ** (int(12 * root) / 12 + step / 12) * time) for step in (0, 4, 7)]
        found.append(0.1 * sum(tones) * (-fall * 4 * time).exp())
    return torch.cat(found)[: round(seconds * RATE)].expand(2, -1) + 0.01 * noise(seed, seconds)


def windows(num_samples: int) -> Tensor:
    """The number of the window that each sample lies in."""
    return (torch.arange(num_samples) / RATE / EVERY).floor().long()


def test_stationary_noise_and_random_chords_have_no_seams() -> None:
    found = [seam_score([make(seed)], RATE, BOUNDARIES, overlap=overlap) for make in (noise, chords) for seed in range(4) for overlap in (0.0, 1.5)]
    assert all(score.boundaries == 10 for score in found)
    assert sum(score.score for score in found) / len(found) == pytest.approx(1, abs=0.05)
    assert all(0.6 < score.score < 1.4 and score.low < 1 < score.high for score in found)
    assert sum(score.low <= score.score <= score.high for score in found) >= len(found) - 4
    assert sum(score.dip_db for score in found) / len(found) == pytest.approx(0, abs=0.1)


def test_steps_in_level_are_steps_in_loudness() -> None:
    audio = noise()
    stepped = audio * torch.where(windows(audio.shape[-1]) % 2 == 0, 1.0, 10 ** (1.0 / 20))
    found = seam_score([stepped], RATE, BOUNDARIES)
    assert found.loudness > 5 and found.spectrum > 1.2 and found.p < 0.05 and found.score > found.high
    music = chords(0)
    louder = seam_score([music * torch.where(windows(music.shape[-1]) % 2 == 0, 1.0, 2.0)], RATE, BOUNDARIES)
    before = seam_score([music], RATE, BOUNDARIES)
    assert louder.loudness > 1.5 * before.loudness
    assert louder.chroma == pytest.approx(before.chroma, abs=0.02)  # shares of pitch classes know no level


def test_a_step_of_known_size_is_measured_in_decibels() -> None:
    """Of a steady tone nothing changes elsewhere, and the loudness by the step: ratio = (step + rounding) / rounding."""
    tone = 0.1 * torch.sin(2 * math.pi * torch.arange(RATE) * 1000 / RATE).repeat(2, round(SECONDS))
    assert seam_score([tone], RATE, BOUNDARIES).score == pytest.approx(1, abs=0.01)
    stepped = tone * torch.where(windows(tone.shape[-1]) % 2 == 0, 1.0, 10 ** (3.0 / 20))
    assert seam_score([stepped], RATE, BOUNDARIES).loudness == pytest.approx(301, rel=0.02)
    assert seam_score([torch.zeros_like(tone)], RATE, BOUNDARIES).score == pytest.approx(1)


def test_other_colours_and_other_keys_are_found_where_they_belong() -> None:
    audio = noise()
    dull = torch.nn.functional.avg_pool1d(audio[None], 5, 1, 2)[0]
    dull *= audio.square().mean().sqrt() / dull.square().mean().sqrt()
    coloured = torch.where(windows(audio.shape[-1]) % 2 == 0, audio, dull)
    assert seam_score([coloured], RATE, BOUNDARIES).spectrum > 4
    time, semitones = torch.arange(audio.shape[-1]) / RATE, windows(audio.shape[-1]) * 3
    transposed = 0.3 * torch.sin(2 * math.pi * 440 * 2 ** (semitones % 12 / 12) * time) + 0.03 * audio
    assert seam_score([transposed], RATE, BOUNDARIES).chroma > 10


@pytest.mark.parametrize("at", [-0.7, 0.0, 0.7])
def test_where_in_the_overlap_a_step_lies_makes_no_difference(at: float) -> None:
    audio = noise()
    window = ((torch.arange(audio.shape[-1]) / RATE - at) / EVERY).floor()
    found = seam_score([audio * torch.where(window % 2 == 0, 1.0, 10 ** (1.0 / 20))], RATE, BOUNDARIES, overlap=1.6)
    assert found.loudness > 4


def test_quieter_overlaps_are_no_seam_but_a_dip() -> None:
    audio = noise()
    near = ((torch.arange(audio.shape[-1]) / RATE + EVERY / 2) % EVERY - EVERY / 2).abs() < 0.75
    found = seam_score([audio * torch.where(near, 10 ** (-3.0 / 20), 1.0)], RATE, BOUNDARIES, overlap=1.5)
    assert found.dip_db == pytest.approx(3, abs=0.5) and found.score < 1.5


def test_cuts_of_blocks_make_no_difference() -> None:
    audio = chords(1)
    whole = seam_score([audio], RATE, BOUNDARIES, overlap=1.0)
    assert seam_score(audio.split(4096, dim=1), RATE, BOUNDARIES, overlap=1.0) == whole
    assert seam_score(iter(audio.tensor_split([1, 1, 7, 200_001, 200_002], dim=1)), RATE, BOUNDARIES, overlap=1.0) == whole


def test_a_longer_piece_holds_no_more_audio() -> None:
    """Every block is gone when the next but a few are there."""
    held: list[int] = []

    def blocks():
        import weakref

        alive = weakref.WeakSet()
        for seed in range(40):
            block = noise(seed, 2.0)
            alive.add(block)
            held.append(len(alive))
            yield block

    seam_score(blocks(), RATE, Boundaries.within(80, EVERY).seconds)
    assert len(held) == 40 and max(held) < 10  # 10 s are looked at together


def test_places_and_rates_that_are_no_whole_frames() -> None:
    """Boundaries are found at their time, not at a count of frames that are not exactly 50 ms."""
    rate, every = 22050, 7.13
    audio = 0.1 * torch.randn(1, 120 * rate, generator=torch.Generator().manual_seed(0))
    window = (torch.arange(audio.shape[-1]) / rate / every).floor()
    found = seam_score([audio * torch.where(window % 2 == 0, 1.0, 1.2)], rate, Boundaries.within(120, every).seconds)
    assert found.boundaries == 16 and found.loudness > 5


def test_the_weighting_is_that_of_the_loudness_meter() -> None:
    """The meter's own filters, run over an impulse."""
    impulse = np.zeros(48000)
    impulse[0] = 1
    wanted = torch.fft.rfft(torch.from_numpy(sosfilt(k_weighting(48000), impulse))).abs().square()  # bins of 1 Hz
    for frequency in (60, 375, 1500, 6000, 15000):
        assert k_weights(48000, 3200)[frequency // 15].item() == pytest.approx(wanted[frequency].item(), rel=1e-3)


def test_what_is_looked_at_fits_between_the_boundaries() -> None:
    assert (sight([8.2, 16.4], 0.0).gap, sight([8.2, 16.4], 0.0).width) == (1, 30)
    assert (sight([8.2, 16.4], 2.5).gap, sight([8.2, 16.4], 2.5).width) == (25, 30)
    near = sight([3.0, 6.0, 9.0], 1.5)
    assert (near.gap, near.width) == (12, 12) and near.reach * 0.05 <= 0.4 * 3.0
    assert sight([8.2], 2.5).reach == 55


@pytest.mark.parametrize(
    ("boundaries", "overlap", "words"),
    [
        ([], 0.0, "came 0"),
        ([2.0, 3.0], 0.0, "at least 1.25 s apart"),
        ([4.0, 2.0], 0.0, "at least 1.25 s apart"),
        ([4.0, 8.0], -1.0, "an overlap of 0 s or more"),
        ([4.0, 40.0], 0.0, "do not lie in a piece of 20 s"),
        ([0.5, 19.5], 0.0, "no boundary has 1.55 s of the piece on both sides; it lasts 20 s"),
    ],
)
def test_boundaries_that_nothing_can_be_said_about(boundaries: list[float], overlap: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        seam_score([noise(0, 20.0)], RATE, boundaries, overlap=overlap)


def test_blocks_of_other_channels_and_too_little_audio_are_refused() -> None:
    with pytest.raises(ValueError, match="one number of channels"):
        seam_score([noise(0, 2.0), noise(0, 2.0)[:1]], RATE, [5.0])
    for blocks in ([], [noise(0, 0.02)]):
        with pytest.raises(ValueError, match="do not lie in a piece of 0"):
            seam_score(blocks, RATE, [5.0])


def test_boundaries_from_metadata() -> None:
    said = {"first": 9.6, "every": 8.2, "count": 3, "overlap": 2.7}
    assert Boundaries.of({"boundaries": said, "seed": 1}).seconds == pytest.approx([9.6, 17.8, 26.0])
    assert Boundaries.within(30, 8.2).seconds == pytest.approx([8.2, 16.4, 24.6])
    assert Boundaries.within(24.6, 8.2, first=1.0, overlap=2.0) == Boundaries(1.0, 8.2, 3, 2.0)
    for metadata, words in (
        ({}, "say it with --every"),
        ({"boundaries": [8.2]}, "say it with --every"),
        ({"boundaries": {**said, "count": 0}}, "has no boundary"),
        ({"boundaries": {**said, "every": 0}}, "expected boundaries as first"),
        ({"boundaries": {**said, "first": "a"}}, "expected boundaries as first"),
        ({"boundaries": {**said, "count": 1.5}}, "expected boundaries as first"),
        ({"boundaries": {**said, "count": 10**9}}, "up to 1000000"),
        ({"boundaries": {**said, "overlap": float("nan")}}, "came 9.6, 8.2, 3, nan"),
    ):
        with pytest.raises(ValueError, match=words):
            Boundaries.of(metadata)
    with pytest.raises(ValueError, match="a piece of 5 s has no boundary at 8.2 s or later"):
        Boundaries.within(5, 8.2)


def test_the_table_has_a_row_a_piece_and_their_median() -> None:
    scores = [seam_score([noise(seed, 20.0)], RATE, [6.0, 12.0]) for seed in range(3)]
    lines = table(list(zip("abc", scores))).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| a", "| b", "| c", "| median"]
    assert lines[-1].split(" | ")[1] == f"{sorted(score.score for score in scores)[1]:.2f}" and lines[-1].endswith("| 6 |")
    assert all(line.count("|") == lines[0].count("|") for line in lines)
