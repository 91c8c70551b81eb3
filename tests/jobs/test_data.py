"""The scan of a data set: what it counts, and damage that only decoding finds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mousai.audio import io
from mousai.jobs.data import scan


def test_a_scan_counts_what_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    noise = 0.2 * torch.randn(2, 96_000, generator=torch.Generator().manual_seed(0))
    io.write(tmp_path / "a.wav", noise, subtype="PCM_24")
    io.write(tmp_path / "b.flac", noise[:1, :44_100], 44_100)
    io.write(tmp_path / "loud.wav", 10 * noise[:, :48_000], subtype="FLOAT")
    io.write(tmp_path / "silent.wav", torch.zeros(2, 48_000))
    io.write(tmp_path / "bad.flac", noise)
    data = bytearray((tmp_path / "bad.flac").read_bytes())
    data[100_000:100_200] = bytes(200)
    (tmp_path / "bad.flac").write_bytes(data)
    (tmp_path / "empty.ogg").touch()
    (tmp_path / "a.json").write_text(json.dumps({"title": "A", "genre": ["x"], "split": "valid"}))
    calls = []
    report = scan(tmp_path, workers=2, progress=lambda done, total: calls.append((done, total)))
    assert report.files == 4 and report.hours == pytest.approx(5 / 3600)
    assert (report.shortest_seconds, report.median_seconds, report.longest_seconds) == (1, 1, 2)
    assert report.sample_rates == {48000: 3, 44100: 1} and report.channels == {2: 3, 1: 1}
    assert report.formats == {"WAV": 2, "FLAC": 1, "WAV FLOAT": 1}
    assert report.splits == {"none": 3, "valid": 1}
    assert report.labels["title"] == report.labels["genre"] == 1 and report.labels["artist"] == 0
    assert report.over_full_scale == 1 and report.silent == ["silent.wav"]
    assert [key for key, _ in report.skipped] == ["empty.ogg", "bad.flac"]
    assert calls[-1] == (5, 5) and not caplog.records
    text = str(report)
    assert "4 files" in text and "title 25 %" in text and text.count("skipped: ") == 2
    json.dumps(dataclasses.asdict(report))


def test_a_set_of_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    audio = np.full((100, 2), np.nan, np.float32)
    soundfile.write(tmp_path / "a.wav", audio, 48000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"no usable audio \(1 files were skipped\)"):
        scan(tmp_path)
