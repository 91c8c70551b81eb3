"""The practice set's sound: what it claims (key, chords, tempo, loudness, stereo) is heard, and stems sum to the mix."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mousai.audio.loudness import measure
from mousai.data.synth import effects, instruments, mix
from mousai.data.synth.compose import compose
from mousai.data.synth.render import make, make_clip
from mousai.data.synth.styles import STYLES

SECONDS = 5.0


@pytest.fixture(scope="module")
def clips() -> list[tuple[np.ndarray, dict]]:
    """One clip of each class."""
    return [make(3, index, SECONDS) for index in range(len(STYLES))]


def test_every_class_comes_once_in_each_round(clips) -> None:
    assert [metadata["style"] for _, metadata in clips] == list(STYLES)


def test_clips_are_stereo_at_one_loudness_and_unclipped(clips) -> None:
    for audio, metadata in clips:
        assert audio.shape == (2, SECONDS * 48000) and audio.dtype == np.float32
        assert np.isfinite(audio).all() and np.abs(audio).max() <= 0.98
        assert abs(measure([torch.from_numpy(audio).float()], 48000, 2).integrated_lufs - mix.LOUDNESS_LUFS) < 1.0, metadata["style"]
        assert np.sqrt(np.mean((audio[0] - audio[1]) ** 2)) > 0.004, metadata["style"]


def test_a_clip_depends_on_seed_and_index_alone(clips) -> None:
    again, metadata = make(3, 5, SECONDS)
    assert np.array_equal(again, clips[5][0]) and metadata == clips[5][1]
    assert not np.array_equal(make(4, 5, SECONDS)[0], again)
    assert not np.array_equal(make(3, 5 + len(STYLES), SECONDS)[0], again)


def onsets(audio: np.ndarray) -> np.ndarray:
    """Rises of power in octave bands, 100 frames a second."""
    power = [instruments.filtered(audio.mean(0), "band", low, 2 * low, order=1) ** 2 for low in (60.0, 250.0, 1000.0, 4000.0, 9000.0)]
    frames = [np.log(band[: len(band) // 480 * 480].reshape(-1, 480).mean(1) + 1e-7) for band in power]
    return np.maximum(np.diff(np.stack(frames), axis=1), 0).sum(0)


def test_drums_are_heard_at_the_stated_tempo() -> None:
    for name in ("techno", "rock", "house", "chiptune", "metal", "bossa_nova", "soul"):
        audio, metadata = make(8, list(STYLES).index(name), 12.0)
        rise = onsets(audio) - onsets(audio).mean()
        correlation = np.correlate(rise, rise, "full")[len(rise) - 1 :] / np.dot(rise, rise)

        def at(beats: float) -> float:
            lag = beats * 6000 / metadata["bpm"]
            return correlation[int(lag) - 1 : int(lag) + 3].max()

        metre = int(metadata["metre"].split("/")[0]) // (3 if metadata["metre"].endswith("/8") else 1)
        assert max(at(1), at(2), at(metre)) > 0.2 + max(np.median(correlation[30:600]), at(0.81)), name


def test_the_stated_beats_are_where_the_kick_is() -> None:
    index = list(STYLES).index("techno")
    seed = next(seed for seed in range(30) if compose(seed, index, 8.0)[0].lead and any(n.pitch == "kick" for n in compose(seed, index, 8.0)[0].parts["drums"]))
    audio, metadata = make(seed, index, 8.0)
    low = instruments.filtered(audio.mean(0), "low", high=90.0) ** 2
    beat = 60 / metadata["bpm"]
    times = np.arange(metadata["first_beat"], 7.5, beat)
    on = [low[int(t * 48000) : int((t + 0.08) * 48000)].mean() for t in times]
    before = [low[max(int((t - 0.09) * 48000), 0) : int((t - 0.01) * 48000)].mean() for t in times[1:]]
    assert np.median(on) > 2 * np.median(before)


def chroma(audio: np.ndarray) -> np.ndarray:
    """Power by pitch class from 100 to 2000 Hz."""
    spectrum = np.abs(np.fft.rfft(audio.mean(0) * np.hanning(audio.shape[1]), 131072)) ** 2
    hertz = np.fft.rfftfreq(131072, 1 / 48000)
    heard = (hertz > 100) & (hertz < 2000)
    classes = np.round(12 * np.log2(hertz[heard] / 440) + 9).astype(int) % 12
    return np.bincount(classes, spectrum[heard], 12)


def test_the_stated_chords_are_heard() -> None:
    for name in ("piano", "folk_guitar", "ambient", "strings", "string_quartet", "brass_band", "soul", "bossa_nova"):
        shares, chances = [], []
        for seed in range(2):
            index = list(STYLES).index(name)
            (audio, _), (score, _) = make(seed, index, 6.0), compose(seed, index, 6.0)
            for span in score.spans:
                start, end = (int(48000 * score.seconds_of(beat)) for beat in (span.start, span.start + span.length))
                if start >= 0 and end <= audio.shape[1]:
                    found = chroma(audio[:, start:end])
                    shares.append(found[list(span.chord.tones)].sum() / found.sum())
                    chances.append(len(set(span.chord.tones)) / 12)
        assert np.mean(shares) > np.mean(chances) + 0.25, name


def test_stems_sum_to_the_mix_where_it_is_not_bent() -> None:
    clip = make_clip(3, list(STYLES).index("jazz"), SECONDS, stems=True)
    assert list(clip.stems) == clip.metadata["parts"] and len(clip.stems) >= 2
    total = sum(clip.stems.values())
    straight = (np.abs(clip.audio) < 0.69).all(0)
    assert straight.mean() > 0.99
    np.testing.assert_allclose(total[:, straight], clip.audio[:, straight], atol=2e-4)
    assert np.array_equal(clip.audio, make(3, list(STYLES).index("jazz"), SECONDS)[0])


# The mix


def test_loudness_is_that_of_the_standard() -> None:
    rng = np.random.default_rng(0)
    for audio in (rng.standard_normal((2, 96000)).astype(np.float32) * 0.1, np.sin(np.arange(144000) * 0.13)[None].astype(np.float32)):
        expected = measure([torch.from_numpy(audio)], 48000, len(audio)).integrated_lufs
        assert mix.loudness(audio) == pytest.approx(expected, abs=0.1)
    assert mix.loudness(np.zeros((2, 48000), np.float32)) == -np.inf


def test_peaks_bend_and_nothing_else_does() -> None:
    audio = np.linspace(-3, 3, 601, dtype=np.float32)[None].repeat(2, 0)
    bent = mix.limit(audio.copy())
    quiet = np.abs(audio) <= 0.7
    assert np.array_equal(bent[quiet], audio[quiet]) and np.abs(bent).max() <= 0.98 and (np.diff(bent[0]) >= 0).all()
    assert mix.mastering_gain(np.zeros((2, 48000), np.float32)) == 1.0


def test_balance_keeps_power_and_turns_to_the_side() -> None:
    tone = np.tile(np.sin(np.arange(4800) * 0.1), (2, 1)).astype(np.float32)
    for pan in (-1.0, -0.4, 0.3, 1.0):
        turned = mix.balance(tone, pan)
        assert np.sum(turned**2) == pytest.approx(np.sum(tone**2), rel=1e-3)
        assert (np.sum(turned[1] ** 2) > np.sum(turned[0] ** 2)) == (pan > 0)
    assert mix.balance(tone, 0.0) is tone


def test_ducking_follows_the_beat_of_a_cut_clip() -> None:
    score, _ = compose(0, list(STYLES).index("techno"), 4.0)
    score.lead = 0.5
    gain = effects.duck(np.ones((2, 96000), np.float32), score, np.random.default_rng(0))[0]
    first = int(48000 * score.first_beat()) + 5
    assert gain[first : first + 50].max() < 0.35 and gain[first - 200 : first - 50].min() > 0.8
