"""Distances of a codec and of what it is compared with, clips to judge by, and the sheet that shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mousai.audio import io
from mousai.audio.spectral import log_mel
from mousai.data.sources import open_source
from mousai.data.synth.render import make
from mousai.evaluation.clips import draw_clips
from mousai.evaluation.codec import baselines, log_stft_distance, measure, rms_ratio, set_noise, summary, table
from mousai.pictures.sheet import log_spectrogram, spectrogram_sheet

RATE = 48000


@pytest.fixture(scope="module")
def music() -> list[torch.Tensor]:
    return [torch.from_numpy(make(0, index, 1.0)[0]) for index in (1, 4, 6)]


def test_a_perfect_codec_has_no_distance(music) -> None:
    found = measure(music, music, RATE)
    assert found["log_mel_db"] == [0, 0, 0] and found["log_stft_decades"] == [0, 0, 0] and found["rms_ratio"] == [1, 1, 1]
    assert found["tones"] == pytest.approx([1] * 3) and found["attacks"] == pytest.approx([1] * 3)


def test_tones_and_attacks_are_told_apart(music) -> None:
    """Noise under the music's own envelope keeps attacks and loses tones; a slow swell on it does the opposite."""
    piano = music[1]
    generator = torch.Generator().manual_seed(0)
    frames = piano.square().mean(0).unfold(0, 480, 480).mean(-1).sqrt()
    hiss = torch.randn(piano.shape, generator=generator) * frames.repeat_interleave(480)[: piano.shape[-1]]
    steady = measure([hiss, 0.1 * torch.randn(piano.shape, generator=generator)], [piano, piano], RATE)
    assert steady["attacks"][0] > 0.3 and abs(steady["tones"][0]) < 0.1
    assert abs(steady["attacks"][1]) < 0.3 and abs(steady["tones"][1]) < 0.1
    time = torch.arange(RATE) / RATE
    chord = sum(torch.sin(2 * torch.pi * hertz * time) for hertz in (220, 277.2, 329.6, 880))[None].expand(2, -1)
    tuned = measure([chord * (1 - 0.9 * time), chord * 1.0], [chord, chord * (1 + (12 * time).floor() % 2)], RATE)
    assert tuned["tones"][0] > 0.8 and tuned["attacks"][1] < 0.5 < tuned["tones"][1]
    assert measure([torch.zeros(2, RATE)], [chord], RATE)["tones"] == [0.0]


def test_level_alone_shows_in_the_rms_ratio_alone(music) -> None:
    found = measure([clip / 2 for clip in music], music, RATE)
    assert found["rms_ratio"] == pytest.approx([0.5] * 3)
    assert max(found["log_mel_db"]) < 1e-3 and max(found["log_stft_decades"]) < 1e-4


def test_a_decade_is_a_decade() -> None:
    """Noise whose second half is ten times weaker: half a decade from noise of one level, on either side of the mean."""
    noise = torch.randn(2, RATE, generator=torch.Generator().manual_seed(0))
    gain = torch.ones(RATE)
    gain[RATE // 2 :] = 0.1
    assert log_stft_distance(noise * gain, noise).item() == pytest.approx(0.5, abs=0.02)
    assert rms_ratio(noise * gain, noise).item() == pytest.approx((0.505) ** 0.5, abs=0.01)


def test_baselines_keep_their_order_and_their_level(music) -> None:
    rows = {name: summary(measure(clips, music, RATE)) for name, clips in baselines(music, RATE, 1024, 32).items()}
    mean = {name: row["log_mel_db"]["mean"] for name, row in rows.items()}
    own, shared = "noise with the clip's own long-term spectrum", "noise with the set's long-term spectrum"
    lim = [name for name in rows if name.startswith("Griffin-Lim")]
    assert [name.removeprefix("Griffin-Lim, ") for name in lim] == [
        "16 mel bands a channel every 1024 samples", "32 mel bands a channel every 2048 samples",
    ]  # fmt: skip
    assert max(mean[name] for name in lim) < mean[own] < mean[shared] < mean["white noise"]
    for name in (own, shared, "white noise"):
        assert rows[name]["rms_ratio"]["clips"] == pytest.approx([1] * 3, abs=1e-3)


def test_set_noise_has_the_mean_spectrum_of_all(music) -> None:
    noises = set_noise(music, torch.Generator().manual_seed(0))
    levels = [10 * (10 ** (log_mel(clip / clip.square().mean().sqrt()) / 10)).mean((0, -1)) for clip in (*music, *noises)]
    together = torch.stack(levels[:3]).mean(0).log10()
    for level in levels[3:]:
        assert (10 * (level.log10() - together))[4:].abs().mean() < 1.5


def test_baselines_are_the_same_every_time(music) -> None:
    short = [clip[:, :12000] for clip in music]
    first, again = (baselines(short[:2], RATE, 512, 8, seed=3) for _ in range(2))
    assert all(torch.equal(a, b) for name in first for a, b in zip(first[name], again[name], strict=True))
    assert "another clip" not in baselines(short[:1], RATE, 512, 8)


def test_tables_list_the_nearest_first(music) -> None:
    rows = {"far": summary(measure(music[::-1], music, RATE)), "near": summary(measure(music, music, RATE))}
    lines = table(rows).splitlines()
    assert lines[2].startswith("| near | 0.00 ± 0.00") and lines[3].startswith("| far |")
    assert rows["far"]["log_mel_db"]["min"] == 0 and rows["far"]["log_mel_db"]["max"] == max(rows["far"]["log_mel_db"]["clips"])
    with pytest.raises(ValueError, match="as many candidates"):
        measure(music[:1], music, RATE)


def manifest(folder: Path, seconds: dict[str, float], silent: str = "") -> Path:
    rows = []
    for number, (name, length) in enumerate(seconds.items()):
        audio = 0.1 * torch.randn(2, round(length * 8000), generator=torch.Generator().manual_seed(number))
        io.write(folder / f"{name}.wav", audio * (name != silent), 8000)
        rows.append({"file": f"{name}.wav", "split": "valid"})
    (folder / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "set.jsonl"


def test_clips_come_from_every_long_enough_track_that_sounds(tmp_path) -> None:
    source = open_source(manifest(tmp_path, {"a": 3, "b": 0.5, "c": 4, "d": 3, "e": 1.5}, silent="d"), "valid")
    clips = draw_clips(source, 1.0, 8, 16000, 1)
    assert sorted(clip.key for clip in clips) == ["a.wav", "a.wav", "c.wav", "c.wav", "e.wav", "e.wav"]
    assert all(clip.audio.shape == (1, 16000) for clip in clips)
    assert len({clip.start_seconds for clip in clips}) == 6
    assert [key for key, _ in source.skipped] == ["d.wav"]
    again = draw_clips(open_source(tmp_path / "set.jsonl"), 1.0, 8, 16000, 1)
    assert all(torch.equal(a.audio, b.audio) for a, b in zip(clips, again, strict=True))


def test_long_clips_take_what_there_is_above_the_least(tmp_path) -> None:
    source = open_source(manifest(tmp_path, {"a": 3, "b": 0.5, "c": 4}))
    clips = draw_clips(source, 60.0, 3, 8000, 2, least_seconds=2.0)
    assert sorted((clip.key, clip.audio.shape[-1]) for clip in clips) == [("a.wav", 24000), ("c.wav", 32000)]
    with pytest.raises(ValueError, match="no track of 10.0 s"):
        draw_clips(source, 10.0, 3, 8000, 2)


def test_a_tone_is_where_the_axis_says() -> None:
    time = torch.arange(2 * RATE) / RATE
    for hertz in (110.0, 880.0, 7040.0):
        levels = log_spectrogram(torch.sin(2 * torch.pi * hertz * time)[None], RATE, rows=200)
        row = levels[:, 90].argmax().item()
        assert abs(40 * 500 ** (row / 199) / hertz - 1) < 0.04


def test_the_sheet_is_a_picture(tmp_path, music) -> None:
    spectrogram_sheet([(f"clip {i}", clip[:, :9600], clip[:, 9600:19200]) for i, clip in enumerate(music[:2])], RATE, tmp_path / "sheet.png", "title")
    assert (tmp_path / "sheet.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(ValueError, match="at least one pair"):
        spectrogram_sheet([], RATE, tmp_path / "none.png")
