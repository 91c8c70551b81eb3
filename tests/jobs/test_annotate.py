"""The annotation of a data set: what it writes, what stays, what is heard again and what is not."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mousai.audio import io
from mousai.data.sources import open_source
from mousai.jobs import annotate as job
from mousai.jobs.annotate import annotate

RATE = 22050


def clicks(bpm: float, first: float, seconds: float = 14.0) -> torch.Tensor:
    audio, n = torch.zeros(2, round(seconds * RATE)), torch.arange(3000)
    sound = 0.5 * torch.exp(-n / 300) * torch.sin(2 * math.pi * 900 * n / RATE)
    for time in np.arange(first, seconds - 0.2, 60 / bpm):
        audio[:, round(time * RATE) : round(time * RATE) + 3000] += sound
    return audio


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """A folder of two recordings with a beat, noise, and a damaged file."""
    folder = tmp_path / "music"
    folder.mkdir()
    io.write(folder / "a.flac", clicks(120, 0.25), RATE)
    io.write(folder / "b.flac", clicks(90, 0.5), RATE)
    io.write(folder / "noise.wav", 0.1 * torch.randn(2, 8 * RATE, generator=torch.Generator().manual_seed(0)), RATE)
    (folder / "bad.flac").write_bytes((folder / "a.flac").read_bytes()[:20_000])
    (folder / "a.json").write_text(json.dumps({"title": "A", "genre": ["x"], "split": "valid"}))
    return folder


def rows(path: Path) -> dict[str, dict]:
    return {Path(row["file"]).name: row for row in map(json.loads, path.read_text().splitlines())}


def test_a_folder_becomes_a_manifest_that_is_a_source(music: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out, calls = tmp_path / "lists/heard.jsonl", []
    done = annotate(music, out, workers=1, progress=lambda *counts: calls.append(counts))
    assert (done.files, done.heard, done.beats, done.skipped) == (3, 3, 2, 1) and calls[-1] == (3, 3)
    assert [record.message for record in caplog.records if "bad.flac" in record.message]
    found = rows(out)
    assert found["a.flac"]["bpm"] == 120 and found["a.flac"]["title"] == "A" and found["b.flac"]["bpm"] == 90
    assert found["a.flac"]["first_beat"] == pytest.approx(0.25, abs=0.005) and found["a.flac"]["beats"] is None
    assert all(found["noise.wav"][name] is None for name in ("first_beat", "beats", "downbeats", "metre"))
    source = open_source(out, split="valid")
    assert len(source) == 1 and source.tracks[0].metadata["bpm"] == 120 and "beats" not in source.tracks[0].metadata


def test_the_same_again_hears_only_what_is_new_or_changed(music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, heard = tmp_path / "heard.jsonl", []
    annotate(music, out, workers=1)
    first = out.read_text()
    real = job.hear_file
    monkeypatch.setattr(job, "hear_file", lambda path, **known: heard.append(path.name) or real(path, **known))
    done = annotate(music, out, workers=1)
    assert done.heard == 0 and heard == [] and out.read_text() == first
    io.write(music / "b.flac", clicks(100, 0.5), RATE)
    io.write(music / "c.flac", clicks(80, 0.5), RATE)
    os.utime(music / "b.flac", (1, 1))
    assert annotate(music, out, workers=1).heard == 2 and sorted(heard) == ["b.flac", "c.flac"]
    assert rows(out)["b.flac"]["bpm"] == 100 and rows(out)["a.flac"] == {row["file"]: row for row in map(json.loads, first.splitlines())}["music/a.flac"]


def test_what_a_killed_run_heard_is_not_heard_again(music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, real = tmp_path / "heard.jsonl", job.hear_file
    monkeypatch.setattr(job, "LISTED_EVERY", 1)

    def dies(path: Path, **known: object) -> object:
        if path.name == "noise.wav":
            raise KeyboardInterrupt
        return real(path, **known)

    monkeypatch.setattr(job, "hear_file", dies)
    with pytest.raises(KeyboardInterrupt):
        annotate(music, out, workers=1)
    assert list(rows(out)) == ["a.flac", "b.flac"]
    monkeypatch.setattr(job, "hear_file", real)
    assert annotate(music, out, workers=1).heard == 1 and len(rows(out)) == 3


def test_what_a_line_says_stays(music: Path, tmp_path: Path) -> None:
    lines = [
        {"file": "music/a.flac", "bpm": 121, "key": "Eb minor", "note": 7},
        {"file": "music/b.flac", "bpm": 91, "metre": "4/4", "downbeats": [0.5, 3.2]},
    ]
    source = tmp_path / "own.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert annotate(source, tmp_path / "heard.jsonl", workers=1).beats == 2
    found = rows(tmp_path / "heard.jsonl")
    assert found["a.flac"]["bpm"] == 120 and found["a.flac"]["key"] == "Eb minor" and found["a.flac"]["note"] == 7
    assert found["a.flac"]["first_beat"] is not None
    assert {name: found["b.flac"].get(name) for name in ("bpm", "metre", "downbeats")} == {name: lines[1][name] for name in ("bpm", "metre", "downbeats")}
    assert "first_beat" not in found["b.flac"]


def test_a_tempo_alone_is_no_beat(music: Path, tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(json.dumps({"file": "music/noise.wav", "bpm": 100, "metre": "4/4"}) + "\n")
    done = annotate(tmp_path / "own.jsonl", tmp_path / "heard.jsonl", workers=1)
    assert rows(tmp_path / "heard.jsonl")["noise.wav"]["bpm"] == 100 and (done.beats, done.bars) == (0, 0)


def test_several_processes_hear_the_same(music: Path, tmp_path: Path) -> None:
    annotate(music, tmp_path / "one.jsonl", workers=1)
    annotate(music, tmp_path / "two.jsonl", workers=2)
    assert (tmp_path / "one.jsonl").read_text() == (tmp_path / "two.jsonl").read_text()


def test_places_that_are_none_are_refused(music: Path, tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(json.dumps({"file": "music/a.flac"}) + "\n")
    for source, out, words in ((music, "heard.json", "jsonl"), (tmp_path / "own.jsonl", "own.jsonl", "other than the source"), ("shard-{0..3}.tar", "heard.jsonl", "folder or a manifest")):
        with pytest.raises(ValueError, match=words):
            annotate(source, tmp_path / out, workers=1)
    for text, words in (('{"file": "a.flac", "bpm": 90}\n', "line 1 was not written by annotate"), ("\n[1]\n", "line 2 .*expected a JSON object"), (b"\xff\n", "not text in UTF-8")):
        kept = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "mine.jsonl").write_bytes(kept)
        with pytest.raises(ValueError, match=words) as caught:
            annotate(music, tmp_path / "mine.jsonl", workers=1)
        assert "\n" not in str(caught.value) and (tmp_path / "mine.jsonl").read_bytes() == kept
    with pytest.raises(ValueError, match="workers"):
        annotate(music, tmp_path / "heard.jsonl", workers=0)
