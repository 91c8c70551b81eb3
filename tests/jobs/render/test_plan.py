"""What is said before a long job and while it runs: what is in the way, what is there, how far it is, how long it takes."""

from __future__ import annotations

import collections
import fcntl
import json
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from mousai.checkpoint import fingerprint
from mousai.checks import Problems
from mousai.files import write_json
from mousai.jobs.render import plan as render_plan
from mousai.jobs.render.job import dry_run, render
from mousai.jobs.render.plan import Target, check, check_disk, disk_bytes, note_failure, seconds_of, status, targets_of, write_plan
from mousai.pipelines.cascade import load
from mousai.request.piece import Piece, Section

SETTINGS = {"steps": 2, "codec_steps": 1, "window": 1.5, "format": "wav"}


def piece(prompt="slow piano", seconds=3.0, **more):
    return Piece.from_dict({"prompt": prompt, "seconds": seconds, **SETTINGS, **more})


def files(folder):
    return sorted(path.name for path in folder.rglob("*"))


def made(target, of="abc", **more):
    """Leaves what a finished piece leaves."""
    target.folder.mkdir(exist_ok=True)
    target.file.write_bytes(b"sound")
    target.picture.write_bytes(b"picture")
    whole = target.piece.to_dict() | {"method": "joint"}
    write_json(target.job, {"asked": target.asked, "fingerprint": of, "piece": whole, "seconds": 3.0, "file": target.file.name, **more})


def disk_of(free, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12 - free, free))


# -- where, and what is in the way -------------------------------------------------------------------------------------


def test_where_pieces_go(tmp_path):
    first, second = targets_of([piece(), piece("dance", format=None)], tmp_path, None)
    assert (first.file, second.file) == (tmp_path / "slow-piano-0.wav", tmp_path / "dance-0.flac")
    assert targets_of([piece(), piece("dance")], tmp_path, "opus")[0].file.name == "slow-piano-0.opus"
    (one,) = targets_of([piece(title="Night")], tmp_path / "other.ogg", "ogg")
    assert (one.file.name, one.job.name, one.state.name) == ("other.ogg", "other.job.json", "other.render")
    with pytest.raises(ValueError, match="the format is to be wav, the name says flac"):
        targets_of([piece()], tmp_path / "a.flac", None)


def test_what_is_there_is_told_from_what_is_in_the_way(tmp_path):
    (target,) = targets_of([piece()], tmp_path, None)
    assert check([target], "abc") == [target]
    made(target)
    assert check([target], "abc") == []
    (whole,) = targets_of([Piece.from_dict(piece().to_dict() | {"method": "joint"})], tmp_path, None)
    assert check([whole], "abc") == []  # the same piece, all of it said
    (other,) = targets_of([Piece.from_dict(piece().to_dict() | {"method": "continuation"})], tmp_path, None)
    with pytest.raises(Problems, match="made with method unsaid, now continuation; move it"):
        check([other], "abc")
    with pytest.raises(Problems, match="made with model abc, now abd"):
        check([target], "abd")
    target.state.mkdir()  # killed before the state was removed
    assert check([target], "abc") == [target]
    target.state.rmdir()
    target.file.unlink()  # to have it made again
    assert check([target], "abc") == [target]


def test_everything_in_the_way_is_said_at_once(tmp_path):
    titles = ("file", "picture", "folder", "state", "there", "long", "twin")
    targets = targets_of([piece(title=title) for title in titles] + [piece("dance", title="twin")], tmp_path, None)
    targets[0].file.write_bytes(b"somebody's")
    targets[1].picture.mkdir()
    targets[2].job.mkdir()
    targets[3].state.write_bytes(b"somebody's")
    made(targets[4])
    many = [{"prompt": "calm " * 30, "seconds": 5}] * 100
    targets[5] = Target(Piece.from_dict({"sections": many}), tmp_path, "long", "wav")
    with pytest.raises(Problems) as error:
        check(targets, "abc")
    expected = [
        "2 pieces are called 'twin'", "file.wav is there already; move it", "picture.png is a folder", "folder.job.json is a folder",
        "state.render is a file", "long: its sections take",
    ]  # fmt: skip
    assert len(error.value.problems) == len(expected)
    for part, line in zip(expected, error.value.problems, strict=True):
        assert part in line and "\n" not in line


def test_recordings_that_are_missing_or_leave_no_room(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((16000, 1)), 8000)
    (target,) = targets_of([piece(extend=str(tmp_path / "a.wav"))], tmp_path, None)
    assert seconds_of(target) == 5.0
    (tmp_path / "a.wav").unlink()
    assert seconds_of(target) == 5.0  # read once: for thousands of pieces, and for a summary at the end
    (gone,) = targets_of([piece(extend=str(tmp_path / "a.wav"))], tmp_path, None)
    with pytest.raises(Problems, match="no such audio file"):
        check([gone], "abc")
    soundfile.write(tmp_path / "a.wav", np.zeros((16000, 1)), 8000)
    (long,) = targets_of([piece(seconds=86399, extend=str(tmp_path / "a.wav"))], tmp_path, None)
    with pytest.raises(Problems, match="last 86401 s, the limit is 86400 s"):
        check([long], "abc")


def test_disk_for_as_many_as_are_made_at_once_less_what_they_have(tmp_path, monkeypatch):
    targets = targets_of([piece(title=f"p{n}", seconds=100) for n in range(3)], tmp_path, None)
    codec = SimpleNamespace(sample_rate=48_000, channels=2, latent_channels=32, hop=1024)
    file, raw = 100 * 192_000, 100 * 390_000
    assert [disk_bytes(targets, codec, n) for n in (1, 2, 9)] == [3 * file + raw, 3 * file + 2 * raw, 3 * file + 3 * raw]
    mono = SimpleNamespace(sample_rate=24_000, channels=1, latent_channels=32, hop=1024)
    assert disk_bytes(targets[:1], mono) == file / 4 + 100 * (24_000 * 4 + 3000)
    disk_of(3 * file + raw - 1, monkeypatch)
    with pytest.raises(Problems, match="96.6 MB are needed, 96.6 MB are free; make room, or name another place with --out"):
        check_disk(targets, codec)
    targets[0].state.mkdir()
    (targets[0].state / "audio.wav").write_bytes(bytes(1))
    check_disk(targets, codec)


def test_a_disk_without_room_is_said_before_anything_is_begun(tiny_cascade, tmp_path, monkeypatch):
    disk_of(1000, monkeypatch)
    for run in (render, dry_run):
        with pytest.raises(Problems, match="MB are needed, 0.0 MB are free"):
            run([piece(seconds=100)], tiny_cascade, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- how far -----------------------------------------------------------------------------------------------------------


def test_status_of_every_kind(tmp_path):
    targets = targets_of([piece(title=title) for title in ("waiting", "working", "stopped", "failed", "done")], tmp_path, None)
    write_plan(targets)
    for target in targets[1:4]:
        target.state.mkdir()
        write_json(target.state / "progress.json", {"share": 0.25, "seconds": 3.0, "left": 7.0, "times_real_time": 0.5, "host": "here"})
    note_failure(targets[3], "no such sound")
    made(targets[4])
    with open(targets[1].state / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (targets[2].state / "lock").touch()
        found = {each.name: each for each in status(tmp_path)}
    assert list(found) == ["waiting", "working", "stopped", "failed", "done"]  # as asked for
    assert [each.state for each in found.values()] == ["waiting", "at work", "stopped", "failed", "done"]
    assert {each.seconds for each in found.values()} == {3.0}
    assert [each.share for each in found.values()] == [0.0, 0.25, 0.25, 0.25, 1.0]
    assert (found["working"].left, found["stopped"].left) == (7.0, None)
    assert "here" in found["working"].text and found["failed"].text == "no such sound" and found["done"].text == "done.wav"
    (targets[2].state / "progress.json").write_text("{")
    assert status(tmp_path)[2].state == "stopped"
    targets[4].state.mkdir()  # just finished, the folder about to go
    assert status(tmp_path)[4].state == "done"


def test_a_job_of_one_piece_has_a_status_before_anything_is_noted(tmp_path):
    (target,) = targets_of([piece()], tmp_path, None)
    target.state.mkdir()
    assert [(each.state, each.seconds) for each in status(tmp_path)] == [("stopped", None)]


def test_plans_of_several_jobs_add_up_and_a_job_file_beside_them_is_left_alone(tmp_path):
    (tmp_path / "render.json").write_text('{"prompt": "slow", "seconds": 5}')
    write_plan(targets_of([piece(title="a"), piece(title="b")], tmp_path, None))
    write_plan(targets_of([piece(title="b"), piece(title="c")], tmp_path, None))
    assert [each.name for each in status(tmp_path)] == ["a", "b", "c"]
    assert json.loads((tmp_path / "render.json").read_text())["prompt"] == "slow"


def test_status_of_a_folder_without_pieces(tmp_path):
    with pytest.raises(ValueError, match="nothing was rendered here; --status takes the folder"):
        status(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        status(tmp_path / "none")


# -- how long ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_tries_what_only_several_sections_can_ask_for(tiny_cascade, tmp_path):
    sections = (Section("calm", 1.0), Section("dance", 1.0))
    found = dry_run([Piece(sections, title="night", steps=2, level_sections=True)], tiny_cascade, tmp_path / "out")
    assert found and not (tmp_path / "out").exists()


def test_a_dry_run_says_what_rendering_comes_to_and_writes_nothing(tiny_cascade, tmp_path):
    night = piece(title="night", seconds=30, steps=4)
    pieces = [night, piece(title="loop", seconds=20, loop=True), piece("dance")]
    found = dry_run(pieces, tiny_cascade, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [(row["name"], row["file"], row["seconds"], row["sections"]) for row in found["pieces"]] == [
        ("night", "night.wav", 30.0, 1), ("loop", "loop.wav", 20.0, 1), ("dance-0", "dance-0.wav", 3.0, 1),
    ]  # fmt: skip
    assert found["there"] == [] and found["pieces"][0]["bytes"] == disk_bytes(targets_of([night], tmp_path, None), load(tiny_cascade, "cpu").codec)

    render([piece()], tiny_cascade, tmp_path / "warm")  # libraries are loaded once
    began = time.perf_counter()
    render([night], tiny_cascade, tmp_path / "out")
    spent = time.perf_counter() - began
    assert spent / 3 < found["pieces"][0]["work_seconds"] < spent * 3
    before = files(tmp_path)
    again = dry_run(pieces, tiny_cascade, tmp_path / "out")
    assert again["there"] == [str(tmp_path / "out" / "night.wav")] and len(again["pieces"]) == 2
    assert files(tmp_path) == before
    with pytest.raises(Problems, match="made with seed 0, now 1"):
        dry_run([piece(title="night", seconds=30, steps=4, seed=1)], tiny_cascade, tmp_path / "out")


@pytest.mark.slow
def test_thousands_of_pieces_are_looked_at_in_seconds(tiny_cascade, tmp_path):
    pieces = [piece(title=f"piece {number}", seconds=60, seed=number) for number in range(5000)]
    began = time.process_time()
    targets = targets_of(pieces, tmp_path, None)
    assert len(check(targets, "abc")) == 5000
    write_plan(targets)
    assert len(status(tmp_path)) == 5000
    assert time.process_time() - began < 5

    of = fingerprint(tiny_cascade)
    for target in targets:  # as `made`, without a rename each
        target.file.touch()
        target.job.write_text(json.dumps({"asked": target.asked, "fingerprint": of, "seconds": 60.0}))
    began = time.process_time()
    summary = render(pieces, tiny_cascade, tmp_path)
    assert summary.code == 0 and len(summary.of("there")) == 5000
    assert {each.state for each in status(tmp_path)} == {"done"}
    assert time.process_time() - began < 10


def test_every_format_has_a_size():
    from mousai.audio.write import FORMATS

    assert render_plan.SAMPLE_BYTES.keys() == FORMATS.keys()
