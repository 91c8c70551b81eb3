"""Where files go: folders that are made or refused before any work, names that are still free."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mousai.jobs.places import free, ready, split_out, taken


def test_a_folder_or_a_file_name(tmp_path: Path):
    there = tmp_path / "v1.wav"
    there.mkdir()
    for out in (None, "songs", "songs/v1.0", there):
        folder, name, format = split_out(out, 3, None, "wav")
        assert (folder, name, format) == (Path(out or "."), None, "wav")
    assert split_out("songs", 3, "opus", "wav") == (Path("songs"), None, "opus")
    assert split_out("a/b.c.FLAC", 1, None, "wav") == (Path("a"), "b.c", "flac")
    assert split_out("b.ogg", 1, "ogg", "wav") == (Path("."), "b", "ogg")


@pytest.mark.parametrize(
    ("out", "count", "format", "message"),
    [
        ("a.m4a", 1, None, "a.m4a: .m4a cannot be written; use wav, flac, ogg, opus, mp3"),
        ("a.wav", 1, "flac", "is to be flac, the name says wav"),
        ("a.wav", 2, None, "is one file, there are 2 to be written; name a folder"),
        ("a.xyz", 1, None, "a.xyz: .xyz cannot be written; use wav, flac, ogg, opus, mp3; if a folder is meant, make it first"),
        (None, 1, "m4a", "unknown format 'm4a': expected wav, flac, ogg, opus, mp3"),
        ("there", 1, None, "there is a file; name a folder"),
    ],
)
def test_places_that_cannot_be(out, count, format, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("x")
    with pytest.raises(ValueError, match=message):
        split_out(out, count, format, "wav")


def test_folders_are_made_and_go_again_if_nothing_was_written(tmp_path: Path):
    with ready(tmp_path / "a" / "b") as folder:
        assert folder.is_dir()
    assert os.listdir(tmp_path) == []
    with pytest.raises(KeyError), ready(tmp_path / "a" / "b"):
        raise KeyError
    assert os.listdir(tmp_path) == []
    with pytest.raises(KeyError), ready(tmp_path / "a" / "b") as folder:
        (folder / "x").write_text("x")
        raise KeyError
    assert os.listdir(tmp_path / "a" / "b") == ["x"]
    (tmp_path / "empty").mkdir()
    with ready(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").is_dir()


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file" / "sub", Path("/proc/mousai")):
        with pytest.raises(OSError, match="cannot write to .*; name another place") as caught, ready(place):
            pass
        assert "\n" not in str(caught.value)

    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OSError, match="No space left on device; name another place"), ready(tmp_path / "new"):
        pass
    assert os.listdir(tmp_path) == ["file"]


def test_a_taken_name_gets_a_number(tmp_path: Path):
    assert free(tmp_path, "a", "wav").name == "a.wav"
    (tmp_path / "a.wav").write_text("")
    assert free(tmp_path, "a", "wav").name == "a-2.wav"
    assert free(tmp_path, "a", "flac").name == "a.flac"
    (tmp_path / "a-2.png").symlink_to("nowhere")
    assert free(tmp_path, "a", "wav", (".png",)).name == "a-3.wav"
    (tmp_path / "a-3-stems").mkdir()
    assert free(tmp_path, "a", "wav", (".png", "-stems")).name == "a-4.wav"


def test_a_name_is_taken_by_one_alone(tmp_path: Path):
    def write(path: Path) -> None:
        if not (tmp_path / "a.txt").exists():
            (tmp_path / "a.txt").write_text("another process was quicker")
            raise FileExistsError
        path.write_text("mine")

    assert taken(tmp_path, "a", "txt", write) == tmp_path / "a-2.txt"
    assert (tmp_path / "a.txt").read_text() == "another process was quicker"


def test_names_are_as_long_as_fits(tmp_path: Path):
    for name in ("x" * 300, "é" * 150):
        path = free(tmp_path, name, "safetensors")
        path.write_text("")
        assert len(os.fsencode(path.name)) in (254, 255) and free(tmp_path, name, "safetensors").name.endswith("-2.safetensors")
    with pytest.raises(ValueError, match="the name has 304 bytes, a file's may have 255 there"):
        split_out(tmp_path / ("x" * 300 + ".wav"), 1, None, "wav")
