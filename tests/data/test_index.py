"""The index of a source: no file is looked into twice, and what it cannot know or keep costs nothing but time."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

import mousai
from mousai.audio import io
from mousai.data.index import index_path, open_index
from mousai.data.sources import open_source


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MOUSAI_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def probes(monkeypatch):
    """The names of the files that were looked into since it was last cleared."""
    seen, info = [], io.info

    def counted(file):
        seen.append(Path(getattr(file, "name", file)).name)
        return info(file)

    monkeypatch.setattr(io, "info", counted)
    return seen


def save(path, samples=4800, rate=48000, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal((samples, 2)), rate)
    return path


@pytest.fixture
def music(tmp_path):
    """Two good files with tags and side-cars, one that is damaged."""
    folder = tmp_path / "music"
    save(folder / "a.wav")
    with soundfile.SoundFile(folder / "b.flac", "w", 22050, 1) as file:
        file.title = "tagged"
        file.write(np.zeros(2205))
    (folder / "a.txt").write_text("a caption")
    (folder / "c.wav").write_bytes(b"RIFF and no more than that")
    return folder


def what(source):
    return source.tracks, source.skipped


def test_a_second_start_looks_into_nothing_and_finds_the_same(music, probes):
    first = open_source(music)
    assert sorted(probes) == ["a.wav", "b.flac", "c.wav"] and len(first) == 2
    probes.clear()
    assert what(open_source(music)) == what(first) and probes == []
    assert open_source(music).tracks[1].metadata == {"title": "tagged"}


def test_manifests_and_shards_have_indexes_too(music, tmp_path, probes, monkeypatch):
    (tmp_path / "list.jsonl").write_text('{"file": "music/a.wav", "split": "train"}\n{"file": "music/b.flac", "split": "valid"}\n')
    with tarfile.open(tmp_path / "set-0.tar", "w") as archive:
        for path in sorted(music.iterdir()):
            archive.add(path, path.name)
    for spec in (tmp_path / "list.jsonl", tmp_path / "set-*.tar"):
        first = open_source(spec)
        assert probes
        probes.clear()
        with monkeypatch.context() as context:
            context.setattr(tarfile, "open", lambda *_: pytest.fail("the shard is known"))
            assert what(open_source(spec)) == what(first) and not probes
    assert first.tracks[0].metadata == {"caption": "a caption"} and [key for key, _ in first.skipped] == ["set-0.tar/c.wav"]
    assert open_source(tmp_path / "list.jsonl", split="valid").tracks[0].key == "music/b.flac" and not probes
    assert len(open_source(tmp_path / "list.jsonl")) == 2 and not probes  # the other split was not forgotten
    with tarfile.open(tmp_path / "set-0.tar", "a") as archive:
        archive.add(music / "a.wav", "d.wav")
    assert [track.key for track in open_source(tmp_path / "set-*.tar")] == ["set-0.tar/a.wav", "set-0.tar/b.flac", "set-0.tar/d.wav"]


def test_what_has_changed_is_looked_into_anew_and_what_is_gone_is_forgotten(music, probes):
    open_source(music)
    probes.clear()
    save(music / "c.wav")
    os.utime(music / "b.flac", (1, 1))
    save(music / "d.wav", 480)
    (music / "a.wav").unlink()
    assert [(track.key, track.num_samples) for track in open_source(music)] == [("b.flac", 2205), ("c.wav", 4800), ("d.wav", 480)]
    assert sorted(probes) == ["b.flac", "c.wav", "d.wav"]
    assert open_index(str(music)).files.keys() == {"b.flac", "c.wav", "d.wav"}


def test_what_a_killed_start_found_out_is_not_lost(music, probes, monkeypatch):
    monkeypatch.setattr("mousai.data.sources.SAVE_SECONDS", 0.0)
    counted = io.info

    def killed(file):
        if file.name == "b.flac":
            raise KeyboardInterrupt
        return counted(file)

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(io, "info", killed)
        open_source(music)
    assert open_index(str(music)).files.keys() == {"a.wav"}
    probes.clear()
    assert len(open_source(music)) == 2 and probes == ["b.flac", "c.wav"]


def test_hashes_are_worked_out_once_and_kept(music, monkeypatch):
    shutil.copy(music / "a.wav", music / "same.wav")
    source = open_source(music)
    one, other, same = (source.content_hash(track) for track in source)
    assert one == same != other and len(one) == 32
    source.index.save()
    monkeypatch.setattr("mousai.data.index.file_hash", lambda *_: pytest.fail("all hashes are known"))
    again = open_source(music)
    assert [again.content_hash(track) for track in again] == [one, other, same]
    monkeypatch.undo()
    save(music / "a.wav", seed=1)
    assert again.content_hash(again.tracks[0]) != one  # it changed after it was looked into
    again.index.save()
    assert open_source(music).content_hash(again.tracks[0]) != one


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"format": 1}', '{"format": 1, "files": {"a.wav": 3}, "shards": {}}', "\x00" * 80,
    *(json.dumps({"format": 1, "files": {"a.wav": [19244, 1, found]}, "shards": {}}) for found in ([48000, 2], 3, None, [48000, 2, "9", {}], [0, 2, 9, {}], [48000, 2, 9, []])),
    *(json.dumps({"format": 1, "files": {}, "shards": shards}) for shards in ([], {"x": [1]}, {"x": [1, 2, [["a", {}, [[".wav", "0", 1, "a"]]]]]})),
])  # fmt: skip
def test_a_damaged_index_is_made_anew_with_a_line(music, probes, caplog, damage):
    whole = what(open_source(music))
    path = index_path(str(music), beside=False)
    good = json.loads(path.read_text())
    path.write_text(damage)
    caplog.clear()
    probes.clear()
    assert what(open_source(music)) == whole and len(probes) == 3
    assert sum("are looked into anew" in record.getMessage() for record in caplog.records) == 1
    assert json.loads(path.read_text()) == good


def test_a_number_that_was_changed_in_an_index_is_found(music, probes, caplog):
    open_source(music)
    path = index_path(str(music), beside=False)
    written = path.read_text()
    place = written.index("48000")
    for text in (f"{written[:place]}38000{written[place + 5 :]}", written.replace('"crc":', '"crc":1')):
        path.write_text(text)
        caplog.clear()
        open_source(music)
        assert "is damaged: it does not have its checksum" in caplog.text and json.loads(path.read_text()) == json.loads(written)


def test_what_could_not_be_read_is_tried_again_by_another_reader(music, probes, monkeypatch):
    open_source(music)
    probes.clear()
    monkeypatch.setattr("mousai.data.index.READER", "libsndfile of tomorrow")
    for _ in range(2):  # then it is known to that one too
        assert len(open_source(music)) == 2 and probes == ["c.wav"]


def test_where_nothing_can_be_kept_a_line_says_so(music, cache_folder, caplog):
    cache_folder.write_text("a file, so there is no folder")
    assert len(open_source(music)) == 2
    assert "cannot be kept, its files will be looked into again" in caplog.text


def test_an_index_beside_its_source_serves_all_who_find_it_there(music, tmp_path, probes, cache_folder):
    first = open_source(music, index_beside=True)
    assert (music / ".mousai.index.json").is_file() and not cache_folder.exists()
    shutil.move(music, tmp_path / "moved")
    probes.clear()
    assert [track.key for track in open_source(tmp_path / "moved")] == [track.key for track in first] and not probes
    (tmp_path / "list.jsonl").write_text('{"file": "moved/a.wav"}\n')
    open_source(tmp_path / "list.jsonl", index_beside=True)
    assert (tmp_path / ".list.jsonl.index.json").is_file()


def test_processes_that_write_at_once_leave_a_whole_index(music):
    for index in range(200):
        shutil.copy(music / "a.wav", music / f"{index}.wav")
    program = "import sys; from mousai.data.sources import open_source; print(len(open_source(sys.argv[1], quiet=True)))"
    env = {**os.environ, "PYTHONPATH": str(Path(mousai.__file__).parents[1])}
    running = [subprocess.Popen([sys.executable, "-c", program, str(music)], env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=300)[0].strip() for process in running] == ["202"] * 3
    assert len(open_index(str(music)).files) == 203
    assert len(list(index_path(str(music), beside=False).parent.iterdir())) == 1


def test_the_order_of_a_folder_is_that_of_its_paths(tmp_path):
    for name in ("b/z.wav", "b-c/a.wav", "b.wav", "a/b/c.wav", "a/b.wav", "B.wav", "a/.hidden/x.wav", "é.wav", "a/b./c.wav"):
        save(tmp_path / name, 10)
    (tmp_path / "link.wav").symlink_to(tmp_path / "b.wav")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "broken.wav").symlink_to(tmp_path / "none.wav")
    expected = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.wav")) if path.is_file() and ".hidden" not in path.parts]
    assert [track.key for track in open_source(tmp_path)] == expected and "link.wav" in expected
