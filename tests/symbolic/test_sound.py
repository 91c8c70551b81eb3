"""Scores as sound and as pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mousai.audio.key import RATE, pitch_classes
from mousai.data.synth.mix import LOUDNESS_LUFS, loudness
from mousai.pictures.piano_roll import piano_roll_png
from mousai.symbolic.score import Part, Score, notes_of
from mousai.symbolic.sound import SAMPLE_RATE, play, voice_of


def band() -> Score:
    tune = notes_of((480 * beat, 460, 60 + pitch, 90) for beat, pitch in enumerate((0, 4, 7, 12, 11, 7, 5, 2)))
    bass = notes_of((960 * beat, 900, 36 + pitch, 80) for beat, pitch in enumerate((0, 7, 5, 7)))
    drums = notes_of((480 * beat, 100, key, 100) for beat in range(8) for key in ((35, 42) if beat % 2 == 0 else (38, 81)))
    parts = (Part("tune", 73, False, tune), Part("bass", 33, False, bass), Part("kit", 0, True, drums))
    return Score(480, parts, ((0, 120.0),), sections=((0, "A"),))


def test_parts_are_heard_placed_and_sum_to_the_mix() -> None:
    score = band()
    sound = play(score, stems=True, seed=1)
    assert sound.audio.shape[1] == round((score.seconds + 2.5) * SAMPLE_RATE) and np.abs(sound.audio).max() <= 0.98
    assert loudness(sound.audio) == pytest.approx(LOUDNESS_LUFS, abs=0.3)
    straight = (np.abs(sound.audio) < 0.69).all(0)
    assert np.abs(sum(sound.stems) - sound.audio)[:, straight].max() < 1e-4 and all(np.abs(stem).max() > 0.01 for stem in sound.stems)
    assert np.array_equal(play(score, seed=1).audio, sound.audio) and not np.array_equal(play(score, seed=2).audio, sound.audio)
    assert [voice_of(part).words for part in score.parts] == ["flute", "bass guitar", "drums"]


def test_the_sound_has_the_scores_notes() -> None:
    score = band()
    tuned = Score(score.ticks, score.parts[:2], score.tempos)
    mono = torch.from_numpy(play(tuned).audio.mean(0))
    heard = pitch_classes(torch.nn.functional.interpolate(mono[None, None], scale_factor=RATE / SAMPLE_RATE, mode="linear")[0, 0]).numpy()
    times = np.arange(heard.shape[1]) * 1024 / RATE
    wanted = np.zeros_like(heard)
    for part in tuned.parts:
        for start, length, pitch, _ in part.notes:
            wanted[pitch % 12, (times >= start / 960) & (times < (start + length) / 960)] += 1
    alike = np.corrcoef(heard.flatten(), wanted.flatten())[0, 1]
    shifted = np.corrcoef(heard.flatten(), np.roll(wanted, 30, axis=1).flatten())[0, 1]
    assert alike - shifted > 0.3


def test_what_is_too_long_is_refused_and_silence_is_not() -> None:
    long = Score(1, (Part("", 0, False, notes_of([(7300, 1, 60, 80)])),), ((0, 60.0),))
    with pytest.raises(ValueError, match="lasts 122 minutes"):
        play(long)
    unknown = Score(480, (Part("", 120, False, notes_of([(0, 10, 127, 1)])), Part("", 9, True, notes_of([(0, 10, 1, 127)]))))
    assert np.isfinite(play(unknown).audio).all()


def test_a_piano_roll_is_drawn(tmp_path) -> None:
    piano_roll_png(band(), tmp_path / "a.png", "band \x1b[31m")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    silent = Part("cello", 42, False, notes_of(()))
    piano_roll_png(Score(480, (silent, *band().parts)), tmp_path / "one_rests.png")
    piano_roll_png(Score(480, (silent,)), tmp_path / "nobody_plays.png")
    assert np.isfinite(play(Score(480, (silent, *band().parts))).audio).all()
    drums = Score(480, band().parts[2:])
    piano_roll_png(drums, tmp_path / "drums.png")
