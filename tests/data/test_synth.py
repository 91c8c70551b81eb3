"""The practice set: what it claims (key, tempo, loudness, stereo) is true, and a set can be resumed and extended."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mousai.audio import io
from mousai.audio.loudness import measure
from mousai.data.sources import open_source
from mousai.data.synth import compose, instruments
from mousai.data.synth.arrangements import arrange
from mousai.data.synth.compose import SCALES, Score
from mousai.data.synth.render import LOUDNESS_LUFS, PARTS, make
from mousai.data.synth.styles import STYLES, describe
from mousai.jobs.synth import synthesise

SECONDS = 3.0


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
        assert abs(measure([torch.from_numpy(audio).float()], 48000, 2).integrated_lufs - LOUDNESS_LUFS) < 1.0, metadata["style"]
        assert np.sqrt(np.mean((audio[0] - audio[1]) ** 2)) > 0.005, metadata["style"]


def test_a_clip_depends_on_seed_and_index_alone(clips) -> None:
    again, _ = make(3, 5, SECONDS)
    assert np.array_equal(again, clips[5][0])
    assert not np.array_equal(make(4, 5, SECONDS)[0], again)
    assert not np.array_equal(make(3, 13, SECONDS)[0], again)


@pytest.mark.parametrize("name", STYLES)
def test_notes_keep_to_the_key_and_the_tempo_to_its_range(name) -> None:
    for seed in range(4):
        score = arrange(STYLES[name], 20.0, np.random.default_rng(seed))
        assert STYLES[name].bpm[0] <= score.bpm <= STYLES[name].bpm[1]
        pitches = [n.pitch for part, notes in score.parts.items() for n in notes if PARTS[part].tone and part != "air"]
        inside = [(pitch - score.root) % 12 in SCALES[score.mode] for pitch in pitches]
        assert np.mean(inside) > 0.8
        assert all(21 <= pitch <= 108 for pitch in pitches)
        assert max(score.seconds_of(n.start) for notes in score.parts.values() for n in notes) > 18


def test_metadata_says_what_the_score_is() -> None:
    score = Score(bpm=62.0, root=9, mode="minor", beats=16)
    fields = describe(STYLES["piano"], score, np.random.default_rng(0))
    assert fields["key"] == "A minor" and fields["bpm"] == 62 and fields["pace"] == "slow"
    assert "melancholic" in fields["mood"] and fields["instruments"] == ["piano"]
    assert all(word in fields["caption"] for word in ("slow", "piano", "A minor", "62 BPM"))
    assert any(mood in fields["caption"] for mood in fields["mood"])


def test_the_kick_of_techno_is_heard_at_the_stated_tempo(clips) -> None:
    audio, metadata = clips[list(STYLES).index("techno")]
    low = instruments.filtered(audio.mean(0), "low", high=90.0) ** 2
    envelope = low[: len(low) // 480 * 480].reshape(-1, 480).mean(1)  # 100 frames a second
    envelope -= envelope.mean()
    spectrum = np.abs(np.fft.rfft(envelope, 16384))
    hertz = np.fft.rfftfreq(16384, 0.01)
    beat = hertz[np.argmax(np.where((hertz > 1) & (hertz < 3.5), spectrum, 0))]
    assert beat * 60 == pytest.approx(metadata["bpm"], rel=0.02)


def test_modes_equal_the_sum_written_out() -> None:
    frequencies, amplitudes = np.array([220.0, 660.5, 30000.0]), np.array([1.0, 0.4, 1.0])
    decays, phases = np.array([3.0, 9.0, 1.0]), np.array([0.0, 0.7, 0.0])
    t = np.arange(5000) / 48000
    audible = zip(frequencies[:2], amplitudes, decays, phases)  # 30 kHz is beyond what 48 kHz can hold
    expected = sum(a * np.exp(-d * t) * np.sin(2 * np.pi * f * t + p) for f, a, d, p in audible)
    np.testing.assert_allclose(instruments.modes(frequencies, amplitudes, decays, phases, 5000), expected, atol=1e-4)


def test_oscillators_do_not_alias() -> None:
    n, hertz = 48000, 1319.0
    spectrum = np.abs(np.fft.rfft(instruments.oscillator("saw", hertz, n) * np.hanning(n)))
    distance = np.abs(np.arange(len(spectrum)) - hertz * np.round(np.arange(len(spectrum)) / hertz))
    assert np.argmax(spectrum) == pytest.approx(hertz, abs=1)
    assert spectrum[distance > 5].max() < 1e-3 * spectrum.max()


def test_time_of_beats_straight_and_swung() -> None:
    straight, swung = Score(bpm=120, root=0, mode="major", beats=8), Score(bpm=120, root=0, mode="major", beats=8, swing=1 / 6)
    assert [straight.seconds_of(beat) for beat in (0, 0.5, 3.25, -2)] == [0, 0.25, 1.625, -1]
    assert [swung.seconds_of(beat) for beat in (0, 0.5, 1, 3.75)] == pytest.approx([0, 1 / 3, 0.5, 1.5 + 5 / 12])


def test_voicings_hold_the_chord_and_move_little() -> None:
    first = compose.voicing([0, 4, 7], 48)
    second = compose.voicing([5, 9, 0], 48, first)
    assert first == [48, 52, 55] and sorted(p % 12 for p in second) == [0, 5, 9]
    assert sum(abs(a - b) for a, b in zip(first, second)) <= 6


# The job


def test_a_set_is_resumed_and_extended_and_read_as_a_source(tmp_path) -> None:
    first = synthesise(tmp_path / "set", 10, seed=1, seconds=1.0, workers=1)
    assert (first.made, first.kept) == (10, 0)
    rows = [json.loads(line) for line in first.manifest.read_text().splitlines()]
    assert [row["split"] for row in rows] == ["train"] * 8 + ["valid"] * 2
    files = [tmp_path / "set" / row["file"] for row in rows]
    heard = io.read(files[4])
    assert heard.shape == (2, 48000)

    times = {file: file.stat().st_mtime_ns for file in files}
    files[4].unlink()
    (tmp_path / "set/audio/000004-rock.opus.99.part").write_bytes(b"cut by a kill")
    second = synthesise(tmp_path / "set", 12, seed=1, seconds=1.0, workers=2)
    assert (second.made, second.kept) == (3, 9)
    assert torch.equal(io.read(files[4]), heard)
    assert all(file.stat().st_mtime_ns == time for file, time in times.items() if file != files[4])

    train, valid = open_source(second.manifest, split="train"), open_source(second.manifest, split="valid")
    assert (len(train), len(valid)) == (8, 4)
    track = train.tracks[0]
    assert track.metadata["genre"] == ["classical"] and track.metadata["bpm"] == rows[0]["bpm"]
    assert track.metadata["key"] == rows[0]["key"] and track.num_samples == 48000


def test_an_interrupted_run_leaves_a_whole_smaller_set(tmp_path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(tmp_path, 8, seconds=1.0, workers=1, format="flac", progress=interrupt)
    assert len(open_source(tmp_path / "manifest.jsonl")) == 3
    assert {path.suffix for path in (tmp_path / "audio").iterdir()} == {".flac"}
    assert synthesise(tmp_path, 8, seconds=1.0, workers=1, format="flac").kept == 3


def test_a_folder_of_other_settings_is_refused(tmp_path) -> None:
    synthesise(tmp_path, 1, seed=1, seconds=1.0, workers=1, format="flac")
    with pytest.raises(ValueError, match="choose another folder"):
        synthesise(tmp_path, 1, seed=2, seconds=1.0, workers=1, format="flac")


@pytest.mark.parametrize(
    "settings", [{"count": 0}, {"seconds": 0.0}, {"seconds": float("nan")}, {"seconds": 1e9}, {"workers": 0}, {"format": "mp3"}]
)
def test_bad_settings_are_named_and_nothing_is_written(tmp_path, settings) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        synthesise(tmp_path / "set", **{"count": 1, **settings})
    assert not (tmp_path / "set").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path) -> None:
    (tmp_path / "set").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        synthesise(tmp_path / "set", 1)
