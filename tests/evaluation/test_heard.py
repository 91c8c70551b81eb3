"""What is heard of clips that are what was asked for, of those that are not, and of those of which nothing was asked."""

from __future__ import annotations

import math

import pytest
import torch

from mousai.evaluation.heard import MEASURES, by_chance, by_label, hear, summary, table
from mousai.request.music import Music

RATE = 48000


def song(bpm: float = 120, semitone: int = 0, seconds: float = 8.0) -> torch.Tensor:
    """A major triad on every beat, `(2, s)`, that many semitones above C."""
    beat = round(60 / bpm * RATE)
    time = torch.arange(beat) / RATE
    notes = sum(torch.sin(2 * math.pi * 130.81 * 2 ** ((semitone + step) / 12) * k * time) / k for step in (0, 4, 7) for k in (1, 2, 3))
    struck = notes * torch.exp(-6 * time)
    return 0.1 * struck.repeat(math.ceil(seconds * RATE / beat))[: round(seconds * RATE)].expand(2, -1)


def test_what_was_asked_for_is_heard() -> None:
    clip = hear(song(120, 2), RATE, Music(bpm=120, key="D major"))
    assert clip["pulse"] > 0.9 and clip["pulse_asked"] > 0.9 and clip["pulse_elsewhere"] < 0.2
    assert clip["found_bpm"] == pytest.approx(120, abs=2) and clip["tempo_met"] and clip["tempo_exact"] and clip["tempo_thirds"]
    assert clip["found_key"] == clip["asked_key"] == "D major" and clip["key_met"] and clip["key_relative"] and clip["key_correlation"] > 0.5
    assert clip.keys() >= MEASURES.keys()


def test_another_tempo_and_key_are_not_met() -> None:
    clip = hear(song(120, 2), RATE, Music(bpm=101, key="Ab major"))
    assert clip["pulse_asked"] < 0.3 < clip["pulse_elsewhere"] + 0.3 and not (clip["tempo_met"] or clip["tempo_thirds"])
    assert not (clip["key_met"] or clip["key_relative"]) and clip["key_correlation"] < 0
    octave, third = (hear(song(120), RATE, Music(bpm=bpm)) for bpm in (60, 180))
    assert (octave["tempo_met"], octave["tempo_exact"], third["tempo_met"], third["tempo_thirds"]) == (True, False, False, True)
    assert hear(song(120), RATE, Music(key="A minor"))["key_relative"] and not hear(song(120), RATE, Music(key="A minor"))["key_met"]


def test_noise_and_silence_are_heard_as_what_they_are() -> None:
    noise = hear(0.1 * torch.randn(2, 8 * RATE, generator=torch.Generator().manual_seed(0)), RATE, Music(bpm=120, key="C major"))
    assert noise["pulse"] < 0.25 and noise["pulse_asked"] < 0.2 and noise["voiced"] == 0 and noise["chroma"] < 0.01
    silent = hear(torch.zeros(2, RATE), RATE, Music(bpm=120, key="C major"))
    assert silent["found_bpm"] is None and silent["found_key"] is None and not silent["tempo_met"] and not silent["key_met"]


def test_means_are_over_what_is_known() -> None:
    clips = [hear(song(bpm), RATE, asked) for bpm, asked in ((90, Music(bpm=90)), (140, Music(bpm=140)), (140, Music()))]
    mean = summary(clips)
    assert (mean["clips"], mean["asked_bpm"], mean["asked_key"]) == (3, 2, 0)
    assert mean["tempo_met"] == 1 and mean["key_met"] is None and mean["tempo_by_chance"] == 0
    assert by_chance(clips[:1]) == {"tempo_by_chance": None, "key_by_chance": None}
    keys = [hear(song(120, semitone), RATE, Music(key=key)) for semitone, key in ((0, "C major"), (0, "A minor"), (2, "D major"))]
    assert by_chance(keys)["key_by_chance"] == pytest.approx(2 / 6)
    assert summary([])["pulse"] is None
    assert by_label(clips, ["b", "a", "a"]).keys() == {"a", "b"} and by_label(clips, ["b", "a", "a"])["a"]["clips"] == 2


def test_a_table_of_rows() -> None:
    clips = [hear(song(90), RATE, Music(bpm=90)), hear(song(90), RATE, Music(bpm=140))]
    lines = table({"this": summary(clips), "that": summary([])}, {"this": "88 %"}, "style named").splitlines()
    assert len({line.count("|") for line in lines}) == 1 and lines[0].endswith("| style named |")
    assert lines[2].startswith("| this | 2 | ") and "| 50 % | 50 % |" in lines[2] and lines[2].endswith("| 88 % |") and lines[3].endswith("| – |")
    part = table({"this": summary([clips[0], hear(song(90), RATE)])}).splitlines()[2]
    assert "| 100 % (1) | 100 % (1) |" in part and f"| {summary(clips)['chroma']:.2f} |" in part
