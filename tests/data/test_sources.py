"""Sources: folders, manifests and shards give tracks with metadata; what is missing or damaged is said."""

from __future__ import annotations

import functools
import http.server
import json
import logging
import os
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mousai.audio import io
from mousai.data.metadata import normalise
from mousai.checks import Problems
from mousai.data.sources import open_source
from mousai.trust import PIPES, allowing


def save(path: Path, seconds: float = 0.2, rate: int = 48000, seed: int = 0, **tags: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = 0.1 * np.random.default_rng(seed).standard_normal((int(seconds * rate), 2))
    format, subtype = {".ogg": ("OGG", "VORBIS"), ".flac": ("FLAC", None)}.get(path.suffix, ("WAV", None))
    with soundfile.SoundFile(path, "w", rate, 2, format=format, subtype=subtype) as file:
        for name, value in tags.items():
            setattr(file, name, value)
        file.write(audio)
    return path


def manifest(path: Path, *lines: dict | str) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines), "utf-8")
    return path


def shard(path: Path, **files: bytes) -> Path:
    """A tar of the files, `a__json` standing for a.json."""
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            (path.parent / "member").write_bytes(content)
            archive.add(path.parent / "member", name.replace("__", "."))
    (path.parent / "member").unlink()
    return path


def test_a_folder_with_side_cars_and_tags(tmp_path: Path) -> None:
    save(tmp_path / "b" / "one.flac", title="From the tag", artist="Someone", date="2011-05-01")
    (tmp_path / "b" / "one.json").write_text(json.dumps({"title": "From the side-car", "genre": "Rock, Pop", "tempo": "120 BPM"}))
    save(tmp_path / "a" / "two.ogg", rate=22050)
    (tmp_path / "a" / "two.txt").write_text("A quiet piece.\n")
    save(tmp_path / ".hidden" / "three.wav")
    source = open_source(tmp_path)
    assert [track.key for track in source] == ["a/two.ogg", "b/one.flac"]
    two, one = source
    assert two.metadata == {"caption": "A quiet piece."} and (two.sample_rate, two.num_samples) == (22050, 4410)
    assert one.metadata == {"title": "From the side-car", "artist": "Someone", "year": 2011, "genre": ["Rock", "Pop"], "bpm": 120}
    assert source.read(one).shape == (2, 9600) and one.seconds == 0.2
    assert torch.equal(source.read(one, 0.1, 100), source.read(one)[:, 4800:4900])


def test_damaged_files_are_skipped_with_a_line_each_and_a_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "good.wav")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "cover.jpg").write_bytes(b"\xff\xd8 no sound" * 50)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "good.wav").read_bytes()[:5000])
    (tmp_path / "cut.flac").write_bytes(save(tmp_path / "x" / "a.flac").read_bytes()[:3000])
    with caplog.at_level(logging.WARNING):
        source = open_source(tmp_path)
    assert [track.key for track in source] == ["good.wav", "x/a.flac"]
    assert {key for key, _ in source.skipped} == {"empty.wav", "cover.jpg", "cut.wav", "cut.flac"}
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4 and "3 of 5 files skipped" in lines[-1] and source.missed == 3  # of a picture nothing is said
    assert all(sum(name in line for line in lines) == 1 for name in ("empty.wav", "cut.wav", "cut.flac"))
    source.skip("good.wav", "found damaged later")
    assert len(source) == 1 and len(source.skipped) == 5 and "good.wav: found damaged later" in caplog.text


def test_what_cannot_be_looked_into_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "album" / "a.wav", 0.1)
    save(tmp_path / "elsewhere" / "b.wav", 0.1)
    (tmp_path / "locked").mkdir()
    (tmp_path / "album" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "album" / "linked.wav").symlink_to(tmp_path / "elsewhere" / "b.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    scandir = os.scandir

    def guarded(path: str | Path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    source = open_source(tmp_path)
    assert [track.key for track in source] == ["album/a.wav", "album/linked.wav", "elsewhere/b.wav"]
    assert dict(source.skipped) == {
        "album/link": "a link to a folder, which is not followed; name it as a source of its own",
        "gone.wav": "a link to nothing",
        "locked": "cannot be looked into (Permission denied)",
        "pipe.wav": "no regular file",
    }
    assert "skipped album/link: a link to a folder" in caplog.text and "4 of 7 files skipped" in caplog.text


def test_side_cars_in_capitals(tmp_path: Path) -> None:
    save(tmp_path / "ONE.WAV", 0.1)
    (tmp_path / "ONE.JSON").write_text('{"title": "One"}')
    (tmp_path / "ONE.Txt").write_text("first of all")
    assert open_source(tmp_path).tracks[0].metadata == {"title": "One", "caption": "first of all"}


def test_all_damaged_side_cars_and_lines_are_told(tmp_path: Path) -> None:
    for name, text in (("a", b"{"), ("b", b"[1]"), ("c", b'{"genre": 3}'), ("d", b"\xff")):
        save(tmp_path / f"{name}.wav", 0.1)
        (tmp_path / f"{name}.json").write_bytes(text)
    (tmp_path / "e.jsonl").write_text('{"file": "a.wav"}\n{\n[]\n{"file": "b.wav"}\n{}\n')
    for place, wanted in ((tmp_path, ["a.wav", "b.wav", "c.wav", "d.json"]), (tmp_path / "e.jsonl", ["line 2", "line 3", "line 5"])):
        with pytest.raises(Problems) as caught:
            open_source(place)
        assert all(name in line for name, line in zip(wanted, caught.value.problems, strict=True))
    shard(tmp_path / "s.tar", x__wav=b"", x__json=b"{", y__wav=b"", y__json=b"[1]")
    with pytest.raises(Problems) as caught:
        open_source(tmp_path / "s.tar")
    assert len(caught.value.problems) == 2


def test_a_manifest_reads_beside_itself(tmp_path: Path) -> None:
    save(tmp_path / "music" / "a.wav", 0.1, title="tag")
    save(tmp_path / "music" / "b é.wav", 0.1)
    path = manifest(
        tmp_path / "list.jsonl",
        {"file": "music/a.wav", "path": "where/it/once/was.mp3", "genre": ["jazz"], "mood": [], "year": None, "split": "valid", "extra": 1},
        "",
        {"audio": "music/b é.wav", "title": "line\u2028break", "bpm_stated": 102, "split": "train"},
    )
    source = open_source(path)
    assert [track.key for track in source] == ["music/a.wav", "music/b é.wav"]
    assert source.tracks[0].metadata == {"title": "tag", "genre": ["jazz"], "split": "valid"}
    assert source.tracks[1].metadata == {"title": "line\u2028break", "bpm": 102, "split": "train"}
    assert [track.key for track in open_source(path, split="valid")] == ["music/a.wav"]
    with pytest.raises(ValueError, match="no file is of the split 'test'; splits named there: train, valid"):
        open_source(path, split="test")


def test_all_missing_files_of_a_manifest_are_listed(tmp_path: Path) -> None:
    save(tmp_path / "a.wav")
    path = manifest(tmp_path / "list.jsonl", *({"file": f"{name}.wav"} for name in "bacd"))
    with pytest.raises(FileNotFoundError, match="3 of 4 files are missing") as caught:
        open_source(path)
    assert str(caught.value).endswith("\n  b.wav\n  c.wav\n  d.wav")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"file": "a.wav"}', "{oops"], "line 2: not JSON"),
        (["[1]"], "line 1: expected a JSON object, came list"),
        (['{"title": "x"}'], "line 1: expected the audio's path under one of file, audio, path"),
        (['{"file": "a.wav"}', '{"file": "a.wav"}'], "line 2: a.wav was already on line 1"),
        (['{"file": "a.wav", "genre": 3}'], "line 1: the field 'genre' cannot be 3"),
        (['{"file": "a.wav", "bpm": "quick"}'], "line 1: the field 'bpm' cannot be 'quick'"),
        (["\udcff"], "not text in UTF-8"),
    ],
)
def test_a_broken_manifest_names_its_line(tmp_path: Path, lines: list[str], message: str) -> None:
    save(tmp_path / "a.wav")
    (tmp_path / "list.jsonl").write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message):
        open_source(tmp_path / "list.jsonl")


def test_places_that_are_no_source(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.md").touch()
    (tmp_path / "bad" / "a").mkdir(parents=True)
    (tmp_path / "bad" / "a" / "b.wav").touch()
    for place, error, message in (
        ("none", FileNotFoundError, "no such data source"),
        ("none.jsonl", FileNotFoundError, "no such manifest"),
        ("notes.md", ValueError, "expected a folder of audio, a .jsonl manifest or .tar shards"),
        ("empty", ValueError, "no usable audio"),
        ("bad", ValueError, r"no usable audio \(1 files were skipped\)"),
        ("none-{0..2}.tar", FileNotFoundError, "3 of 3 shards are missing:\n.*none-0.tar"),
        ("none-*.tar", FileNotFoundError, "0 of 0 shards"),
    ):
        with pytest.raises(error, match=message):
            open_source(tmp_path / place)


def shards(folder: Path) -> list[Path]:
    first, second = (save(folder / "temporary" / f"{seed}.flac", seed=seed).read_bytes() for seed in (1, 2))
    side_car = json.dumps({"title": "One", "mood": "calm"}).encode()
    made = [
        shard(folder / "set-0.tar", one__flac=first, one__json=side_car, cut__flac=first[:2000]),
        shard(folder / "set-1.tar", two__flac=second, two__txt=b"the second"),
    ]
    shutil.rmtree(folder / "temporary")
    return made


@pytest.mark.parametrize("pattern", ["set-{0..1}.tar", "set-*.tar"])
def test_local_shards_are_read_in_place(tmp_path: Path, pattern: str) -> None:
    shards(tmp_path)
    wanted = io.read(save(tmp_path / "2.flac", seed=2))
    source = open_source(str(tmp_path / pattern))
    assert [(track.key, track.metadata) for track in source] == [
        ("set-0.tar/one.flac", {"title": "One", "mood": ["calm"]}),
        ("set-1.tar/two.flac", {"caption": "the second"}),
    ]
    assert [key for key, _ in source.skipped] == ["set-0.tar/cut.flac"]
    assert torch.equal(source.read(source.tracks[1]), wanted)
    assert torch.equal(source.read(source.tracks[1], 0.1, 50), wanted[:, 4800:4850])


@pytest.mark.parametrize(("pattern", "message"), [
    ("pipe:touch pwned; cat a.tar", "is a command.*say --allow-pipe"),
    ("pipe:touch pwned", "is a command.*say --allow-pipe"),
    ("a.tar::pipe:touch pwned; cat a.tar", "is a command"),
    ("PIPE:touch pwned; cat a.tar", "is a command"),
    ("{pipe:touch pwned;,}cat a.tar", "is a command"),
    ("http://127.0.0.1:9/$(touch pwned).tar", r"holds '\$', which a shell might take for a command; write it as %24"),
    ("s3://bucket/a'b.tar", "a shell might"),
    ("gopher://127.0.0.1/a.tar", "expected a URL that begins with http, https"),
    ("http://127.0.0.1:9/a-{0..99999999999}.tar", "stands for more than 1,000,000 shards"),
    ("http://127.0.0.1:9/" + "{0..99}" * 6 + ".tar", "stands for more than 1,000,000 shards"),
])  # fmt: skip
def test_places_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    shard(tmp_path / "a.tar", x__wav=b"")
    with pytest.raises(ValueError, match=message):
        open_source(pattern)
    assert not (tmp_path / "pwned").exists()


def test_a_command_that_is_allowed_is_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOUSAI_SHARDS", str(tmp_path / "kept"))
    place = shards(tmp_path)[1]
    with allowing(PIPES):
        assert [track.metadata for track in open_source(f"pipe:cat {place}")] == [{"caption": "the second"}]


@pytest.mark.skipif(shutil.which("tar") is None, reason="makes the archive with tar, which is not there")
def test_archives_with_holes_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, message in (("x.json", "x.json: is stored with holes"), ("x.wav", "x.wav: is stored with holes")):
        with open(name, "wb") as file:
            file.truncate(6 * 10**9)
        subprocess.run(["tar", "--create", "--sparse", "--file", "a.tar", name], check=True)
        assert os.path.getsize("a.tar") < 10**6
        with pytest.raises(ValueError, match=message):
            open_source("a.tar")
    (tmp_path / "x.json").write_bytes(b" " * (2**22 + 1))
    subprocess.run(["tar", "--create", "--file", "b.tar", "x.json"], check=True)
    with pytest.raises(ValueError, match="x.json: is larger than 4 MiB, which is the most that is read of a side-car"):
        open_source("b.tar")
    Path("x.wav").unlink()
    save(tmp_path / "x.wav", 0.1)
    with pytest.raises(Problems, match="x.json: is larger than 4 MiB"):
        open_source(tmp_path)


def test_a_shard_that_is_no_tar(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"nothing of a tar" * 100)
    with pytest.raises(ValueError, match="not a whole, uncompressed tar"):
        open_source(tmp_path / "a.tar")
    whole = shards(tmp_path)[0].read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ValueError, match="not a whole, uncompressed tar"):
        open_source(tmp_path / "a.tar")


@pytest.mark.skipif(shutil.which("curl") is None, reason="webdataset fetches by curl, which is not there")
def test_shards_by_url_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "served").mkdir()
    shards(tmp_path / "served")
    monkeypatch.setenv("MOUSAI_SHARDS", str(tmp_path / "kept"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *values: object) -> None:
            requests.append(values[0])

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path / "served")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/set-{{0..1}}.tar"
        tracks = [track.key.partition("-")[2] for track in open_source(url)]
        again = [track.key.partition("-")[2] for track in open_source(url)]
        assert tracks == again == ["set-0.tar/one.flac", "set-1.tar/two.flac"]
        assert len(requests) == 2
        source = open_source(url)
        monkeypatch.setenv("MOUSAI_SHARDS", str(tmp_path / "another machine's"))
        source.fetch()
        assert len(requests) == 4 and {track.path.path.parent for track in source} == {tmp_path / "another machine's"}
        assert source.read(source.tracks[1]).shape[0] == 2
        with pytest.raises(OSError):
            open_source(f"http://127.0.0.1:{server.server_port}/none.tar")
        server.shutdown()
    assert sorted(path.name.partition("-")[2] for path in (tmp_path / "kept").iterdir()) == ["set-0.tar", "set-1.tar"]


def test_metadata_under_other_names() -> None:
    given = {"author": "A", "artist": "B", "genres": "x; y", "date": "1999", "tempo": "Allegro", "key_stated": " C major ", "mood": None}
    assert normalise(given, "here") == {"artist": "B", "genre": ["x", "y"], "year": 1999, "tempo": "Allegro", "key": "C major"}
    assert normalise({"tempo": 90.5}, "here") == {"bpm": 90.5}
    assert normalise({"tempo": "slow", "bpm": 61, "style": "drone"}, "here") == {"tempo": "slow", "bpm": 61, "style": "drone"}
    with pytest.raises(ValueError, match="here: the field 'year' cannot be True"):
        normalise({"year": True}, "here")


def test_bars_and_chords_are_kept_where_they_are_in_order(caplog):
    good = {"downbeats": [0, 1.5, 3.0], "chords": [[0.0, "Am"], [1.5, "C/E"]]}
    assert normalise(good, "here") == good
    for bad in (
        {"downbeats": [1.5, 0.0]}, {"downbeats": "often"}, {"chords": "Am F C G"}, {"chords": [[0.0, "H"]]}, {"chords": [[0.0]]}, {"downbeats": 3}, {"chords": []},
        {"chords": [[0.0, 5]]}, {"downbeats": [float("nan")]}, {"downbeats": [10**400]},
    ):  # fmt: skip
        caplog.clear()
        assert normalise(bad, "here") == {}
        assert [record.getMessage().split(":")[0] for record in caplog.records] == ([] if bad == {"chords": []} else ["here"])
