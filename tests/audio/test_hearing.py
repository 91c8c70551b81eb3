"""What is heard of known sounds: clicks at a known tempo and phase, glides, bars of accents and chords, scales."""

import math

import numpy as np
import pytest
import torch

from mousai.audio import io
from mousai.audio.beats import RATE, hear_beats
from mousai.audio.hearing import hear, hear_audio, hear_file, nearly_whole
from mousai.audio.key import hear_key, pitch_classes
from mousai.audio.spectral import in_blocks, stft_magnitude

CHORDS = {"C": (0, 4, 7), "F": (5, 9, 0), "G": (7, 11, 2), "Am": (9, 0, 4)}


def clicks(times, seconds: float, hertz: float = 1500.0) -> torch.Tensor:
    """Decaying sines at these times."""
    audio, n = torch.zeros(round(seconds * RATE)), torch.arange(3000)
    sound = torch.exp(-n / 300) * torch.sin(2 * math.pi * hertz * n / RATE)
    for time in times:
        first = round(time * RATE)
        audio[first : first + len(sound)] += sound[: max(0, len(audio) - first)]
    return audio


def tones(pitches, seconds: float) -> torch.Tensor:
    """Pitches in semitones above C at once, each with four partials, in the octave of middle C and below it."""
    time = torch.arange(round(seconds * RATE)) / RATE
    parts = [torch.sin(2 * math.pi * 261.6256 * 2 ** (pitch / 12) * octave * k * time) / k for pitch in pitches for octave in (0.5, 1) for k in (1, 2, 3, 4)]
    return sum(parts) / 20


def song(bpm: float, first: float, bars: list[str], beats: int = 4) -> tuple[torch.Tensor, np.ndarray]:
    """A click a beat, a low one on each downbeat, a chord a bar; and the times of its beats."""
    beat = 60 / bpm
    times = first + beat * np.arange(beats * len(bars))
    seconds = first + beat * beats * len(bars)
    audio = clicks(times, seconds) + 2 * clicks(times[::beats], seconds, 70.0)
    for index, name in enumerate(bars):
        begin, stop = (round((first + beat * beats * place) * RATE) for place in (index, index + 1))
        audio[begin:stop] += tones(CHORDS[name], beat * beats + 1)[: stop - begin]
    return audio, times


def off(heard, times) -> float:
    """By how many seconds heard beats lie off true ones at most, leaving the two at each end."""
    return float(np.abs(np.subtract.outer(np.array(heard)[2:-2], times)).min(1).max())


@pytest.mark.parametrize(("bpm", "first"), [(97.0, 0.37), (120.0, 0.0), (133.4, 0.81)])
def test_clicks_have_their_tempo_and_phase(bpm, first):
    times = np.arange(first, 30, 60 / bpm)
    beats = hear_beats(clicks(times, 30), torch.zeros(12, 10))
    assert beats.steady and beats.clear > 3 and beats.bpm == pytest.approx(bpm, rel=2e-4)
    assert off(beats.times, times) < 0.004 and len(beats.times) >= len(times) - 1


@pytest.mark.parametrize("slope", [-0.15, 0.2])
def test_beats_of_a_tempo_that_glides_are_a_list(slope):
    times, bpm = [0.5], 110.0
    while times[-1] < 28:
        times.append(times[-1] + 60 / (bpm * (1 + slope * times[-1] / 28)))
    heard = hear(clicks(times, 29))
    assert not heard.beats.steady and off(heard.beats.times, np.array(times)) < 0.012
    fields = heard.fields()
    assert fields["beats"] == list(heard.beats.times) and fields["bpm"] == pytest.approx(60 / np.median(np.diff(times)), rel=0.02)


def test_a_tempo_that_is_known_is_kept_to():
    audio = clicks(np.arange(0.2, 20, 0.5), 20)
    assert hear_beats(audio, torch.zeros(12, 10), bpm=60).bpm == pytest.approx(60, rel=1e-3)
    assert hear_beats(audio, torch.zeros(12, 10), bpm=121).bpm == pytest.approx(120, rel=1e-3)


@pytest.mark.parametrize(("beats", "metre"), [(4, "4/4"), (3, "3/4")])
def test_bars_begin_with_low_notes_and_new_chords(beats, metre):
    audio, times = song(118, 0.7, ["C", "F", "G", "C", "Am", "F", "G", "C"] * 2, beats)
    heard = hear(audio)
    assert heard.bars_are_clear and heard.beats.metre == metre and heard.key.name == "C major" and heard.key_is_clear
    assert off(heard.beats.downbeats, times[::beats]) < 0.02
    fields = heard.fields()
    assert fields["bpm"] == 118 and fields["metre"] == metre and fields["beats"] is None and fields["key"] == "C major"
    assert hear(audio, metre="4/4").beats.metre == "4/4"


@pytest.mark.parametrize("cents", [0, 30, -40])
def test_scales_have_their_key_however_they_are_tuned(cents):
    scale = [tones([pitch + cents / 100], 0.4) for pitch in (9, 11, 12, 14, 16, 17, 20, 21, 16, 12, 9, 9)]
    key = hear_key(pitch_classes(torch.cat(scale)))
    assert key.name == "A minor" and 0 < key.margin < key.correlation <= 1


def test_noise_and_silence_are_unclear():
    silent = hear(torch.zeros(5 * RATE))
    assert silent.beats is None and silent.key is None and not any(silent.fields().values()) and not any(silent.clarity().values())
    noise = hear(0.1 * torch.randn(20 * RATE, generator=torch.Generator().manual_seed(0)))
    assert not noise.bars_are_clear and noise.fields()["downbeats"] is None and noise.fields()["beats"] is None
    assert hear(torch.ones(100)).beats is None
    for seconds in (0.3, 0.5, 1.0):  # less than two beats
        hear(tones([0], seconds))


def test_a_file_is_heard_from_any_second_and_rate(tmp_path):
    audio, times = song(100, 0.0, ["C", "G"] * 5)
    io.write(tmp_path / "a.wav", audio[None].expand(2, -1), RATE)
    later = hear_file(tmp_path / "a.wav", start_seconds=5.0)
    assert off(np.array(later.beats.times) + 5, times) < 0.02
    again = hear_audio(torch.from_numpy(np.repeat(audio.numpy(), 2)[None]), 2 * RATE)
    assert again.beats.bpm == pytest.approx(100, rel=1e-3)
    half = audio[None].bfloat16().requires_grad_()  # as a network may have made it
    assert hear_audio(half, RATE).beats.bpm == pytest.approx(100, rel=1e-3)


def test_blocks_give_what_the_whole_gives():
    audio = torch.randn(RATE * 3, generator=torch.Generator().manual_seed(0))

    def magnitude(part: torch.Tensor) -> torch.Tensor:
        return stft_magnitude(part, 1024, 256)

    torch.testing.assert_close(in_blocks(audio, 256, magnitude, block_frames=50), magnitude(audio), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("bpm", "whole"), [(119.99, 120.0), (120.05, 120.05), (87.3456, 87.346)])
def test_tempos_that_are_nearly_whole_are(bpm, whole):
    assert nearly_whole(bpm) == whole
