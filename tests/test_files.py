"""Files: whole or not at all, whatever fails; leftovers of the dead alone are swept."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mousai import files, leftovers
from mousai.files import append_text, file_hash, known_hash, parse_json, read_bytes, read_json, write_json, write_tensors, write_text, writing, writing_folder
from mousai.leftovers import sweep, temporary_name

ROOT = Path(__file__).parent.parent


def python(program: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def number_of_a_dead_process() -> int:
    process = python("")
    process.communicate()
    return process.pid


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


# Writing


def test_a_file_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with writing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old" and part.parent == tmp_path and part.name.startswith(".a.txt.tmp-")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), writing(path) as part:
        part.write_text("half")
        raise error
    with pytest.raises(error), writing_folder(tmp_path / "folder") as part:
        (part / "x").write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_errors_are_one_line_about_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"^cannot write {tmp_path}/none/a: No such file or directory$"):
        write_text(tmp_path / "none/a", "x")
    with pytest.raises(OSError, match=rf"^cannot write {tmp_path}/a: No space left on device$"), writing(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match=rf"^cannot write {tmp_path}/m/a: the disk$"), writing_folder(tmp_path / "m") as part:
        raise OSError(f"cannot write {part}/a: the disk")
    with pytest.raises(FileNotFoundError, match="other"), writing(tmp_path / "a"):  # of a file that is read meanwhile
        open(tmp_path / "other").close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_modes_follow_the_umask(tmp_path: Path, umask, mask: int, mode: int) -> None:
    import torch

    umask(mask)
    write_text(tmp_path / "a", "x")
    with writing_folder(tmp_path / "folder") as part:
        write_tensors(part / "weights.safetensors", {"x": torch.zeros(2)})
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "folder/weights.safetensors")] == [mode, mode]
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize("name", ["folder", "é" * 120])
@pytest.mark.parametrize("renames", [1, 2])
def test_a_kill_between_the_renames_of_a_folder_loses_nothing(tmp_path: Path, name: str, renames: int) -> None:
    """After one there is no folder of that name, after two there is the new one and the old one beside."""
    with writing_folder(tmp_path / name) as part:
        write_text(part / "one", "one")
    program = (
        "import os, signal, sys\nfrom mousai import files\nfiles.exchange = lambda *_: False\nrename, done = os.rename, []\n"
        "def killed(*names):\n    rename(*names)\n    done.append(names)\n    len(done) == int(sys.argv[2]) and os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.rename = killed\nwith files.writing_folder(sys.argv[1]) as part:\n    files.write_text(part / 'two', 'two')\n"
    )
    process = python(program, tmp_path / name, renames)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and (tmp_path / name).exists() == (renames == 2)
    sweep(tmp_path)
    assert len(os.listdir(tmp_path)) == 1
    sweep(tmp_path, name)
    assert os.listdir(tmp_path) == [name] and os.listdir(tmp_path / name) == (["two"] if renames == 2 else ["one"])


@pytest.mark.parametrize("swaps", [True, False], ids=["in one step", "in two"])
def test_a_folder_takes_the_place_of_another(tmp_path: Path, monkeypatch, swaps: bool) -> None:
    if not swaps:
        monkeypatch.setattr(files, "exchange", lambda one, other: False)
    for text in ("one", "two"):
        with writing_folder(tmp_path / "a" / "folder") as part:
            write_text(part / text, text)
    assert os.listdir(tmp_path / "a") == ["folder"] and os.listdir(tmp_path / "a" / "folder") == ["two"]


@pytest.mark.parametrize("name", ["a" * 255, "é" * 120 + ".flac", "a" * 93, "a"])
def test_a_name_that_fits_can_be_written(tmp_path: Path, name: str) -> None:
    with writing(tmp_path / name) as part:
        part.write_text("x")
        assert len(os.fsencode(part.name)) <= max(len(os.fsencode(name)), leftovers.SHORT_BYTES)
    assert os.listdir(tmp_path) == [name]
    other = name[:-1] + "b"
    left = temporary_name(tmp_path / other)
    left.touch()
    sweep(tmp_path, name, alone=True)
    assert left.exists()  # cut to the same letters, but of another file


@pytest.mark.parametrize("without", [(), ("renameat2",), ("renameat2", "links")])
def test_a_new_name_is_taken_by_one_alone(tmp_path: Path, monkeypatch, without: tuple[str, ...]) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if "renameat2" in without:
        monkeypatch.setattr("mousai.files._rename", lambda *_: errno.EINVAL)
    if "links" in without:
        monkeypatch.setattr(os, "link", refused)
    with writing(tmp_path / "a", new=True) as part:
        part.write_text("first")
    with pytest.raises(FileExistsError, match="cannot write .*/a: File exists"), writing(tmp_path / "a", new=True) as part:
        part.write_text("second")
    with pytest.raises(FileExistsError), writing(tmp_path / "b", new=True) as part:
        (tmp_path / "b").symlink_to("nowhere")
    assert (tmp_path / "a").read_text() == "first" and sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_signal_while_a_folder_is_removed_leaves_none_of_it(tmp_path: Path, monkeypatch) -> None:
    unlink, signals = os.unlink, iter([SystemExit(143)])

    def interrupted(*arguments, **settings):
        if (signalled := next(signals, None)) is not None:
            raise signalled
        unlink(*arguments, **settings)

    monkeypatch.setattr(os, "unlink", interrupted)
    with pytest.raises(SystemExit), writing_folder(tmp_path / "folder") as part:
        for name in "abc":
            (part / name).touch()
        raise ValueError
    assert not os.listdir(tmp_path)


def test_a_full_disk_is_said_of_weights(tmp_path: Path) -> None:
    program = """if True:
        import resource, signal, sys, torch
        from mousai.files import write_tensors
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_tensors(sys.argv[1], {"x": torch.zeros(10_000)})
        except OSError as error:
            print(error)"""
    said = python(program, tmp_path / "w.safetensors").communicate()[0]
    assert said.startswith(f"cannot write {tmp_path}/w.safetensors: ") and said.endswith("; is the disk full?\n") and said.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_a_file_grows_but_not_through_a_link(tmp_path: Path) -> None:
    append_text(tmp_path / "a", "one\n")
    append_text(tmp_path / "a", "two\n")
    assert (tmp_path / "a").read_text() == "one\ntwo\n"
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for name in ("link", "none/a", "."):
        with pytest.raises(OSError) as caught:
            append_text(tmp_path / name, "three")
        assert str(caught.value).startswith(f"cannot write {tmp_path / name}: ")
    assert (tmp_path / "a").read_text() == "one\ntwo\n"


# Sweeping


def left_by(path: Path, process: int, host: str | None = None) -> Path:
    part = path.with_name(f".{path.name}.tmp-{host or leftovers.host_mark()}-{process:x}-0123ab")
    part.mkdir()
    (part / "x").write_text("half")
    return part


def test_leftovers_of_the_dead_alone_are_swept(tmp_path: Path) -> None:
    dead, path = number_of_a_dead_process(), tmp_path / "a"
    path.write_text("whole")
    for name in ("a.txt", ".a.new", "a.tmp-12ab34cd"):
        (tmp_path / name).write_text("nobody knows whose")
    gone = [left_by(path, dead), left_by(tmp_path / "b", dead), left_by(path, os.getpid())]  # a process of our number, before us
    stay = [left_by(path, os.getppid()), left_by(path, 1), left_by(path, dead, "ffff")]
    if "ffff" == leftovers.host_mark():
        stay.pop()
    with writing(tmp_path / "c") as part:
        part.write_text("x")
        sweep(tmp_path)
    assert not any(each.exists() for each in gone) and all(each.exists() for each in stay)
    assert (tmp_path / "c").read_text() == "x" and (tmp_path / ".a.new").exists() and (tmp_path / "a.tmp-12ab34cd").exists()
    os.utime(stay[-1], (0, 0))
    sweep(tmp_path, "b")
    assert stay[-1].exists()
    sweep(tmp_path, "a")
    assert [each.exists() for each in stay] == [True, True, False]


def test_whoever_writes_in_a_folder_sweeps_it_first(tmp_path: Path) -> None:
    left_by(tmp_path / "a", number_of_a_dead_process())
    write_text(tmp_path / "b", "x")
    assert os.listdir(tmp_path) == ["b"]


def test_whoever_is_alone_sweeps_all_kinds(tmp_path: Path) -> None:
    kinds = ["a.json.tmp-12ab34cd", ".a.json.new", "a.json.99.part", "a.json.part"]
    for name in ["a.json", "mine.txt", ".hidden", ".a.json.k3_9xyzw", ".tmpAb3xY9", *kinds]:
        (tmp_path / name).write_text("x")
    left_by(tmp_path / "a.json", os.getppid())
    sweep(tmp_path, "b", alone=True)
    assert len(os.listdir(tmp_path)) == 10
    sweep(tmp_path, "a.json", alone=True)
    assert sorted(os.listdir(tmp_path)) == [".hidden", ".tmpAb3xY9", "a.json", "mine.txt"]
    for name in kinds:
        (tmp_path / name).write_text("x")
    sweep(tmp_path, alone=True)
    assert sorted(os.listdir(tmp_path)) == [".hidden", "a.json", "mine.txt"]
    sweep(tmp_path / "none")


def test_a_killed_writer_is_swept_and_its_file_is_as_before(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    process = python("import sys, time\nfrom mousai.files import writing\nwith writing(sys.argv[1]) as part:\n    part.write_text('half')\n    print(part, flush=True)\n    time.sleep(60)", tmp_path / "a")  # fmt: skip
    part = Path(process.stdout.readline().strip())
    sweep(tmp_path)
    assert part.exists()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


# JSON and hashes


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, True], "é": "ü"}, [], "\udcff.flac"])
@pytest.mark.parametrize("indent", [1, None])
def test_json_comes_back(tmp_path: Path, value: object, indent: int | None) -> None:
    write_json(tmp_path / "a.json", value, indent)
    assert read_json(tmp_path / "a.json") == value
    if "é" in value:
        assert "é" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b"[1]"])
def test_damaged_json_is_one_line_with_advice(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{path} is damaged: .*; remove it$") as caught:
        read_json(path, "remove it", dict)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"^{path} is missing; remove it$"):
        read_json(path, "remove it")


@pytest.mark.parametrize("read", [read_bytes, read_json, file_hash])
def test_what_may_have_no_end_is_refused_at_once(tmp_path: Path, read) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match=f"^{path}.*: expected a regular file, came a pipe or a device$"):
            read(path)
    with pytest.raises(OSError, match="[Ii]s a directory"):
        read(tmp_path)


def test_no_more_is_read_than_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"12345")
    assert read_bytes(tmp_path / "large", 5) == b"12345"
    with pytest.raises(ValueError, match="large: is larger than"):
        read_bytes(tmp_path / "large", 4)
    tracemalloc.start()
    assert read_bytes(tmp_path / "large", 2**32) == b"12345"  # and no memory is taken for what might have come
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_kinds_of_json() -> None:
    assert parse_json("[1]", "here", list) == [1] and parse_json("3", "here") == 3
    with pytest.raises(ValueError, match="^here: expected a JSON object, came list$"):
        parse_json("[1]", "here", dict)


def test_hashes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    (tmp_path / "a").write_bytes(data)
    assert file_hash(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    assert file_hash(tmp_path / "a", 100, 2_000_000) == hashlib.sha256(data[100:2_000_100]).hexdigest()
    assert file_hash(tmp_path / "a", 100) == file_hash(tmp_path / "a", 100, 10**9) == hashlib.sha256(data[100:]).hexdigest()


def test_a_pipe_is_read_where_a_user_may_name_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit((tmp_path / "pipe").write_bytes, b"slow piano\n")
        assert files.read_bytes(tmp_path / "pipe", piped=True) == b"slow piano\n" and written.result(10)
    with pytest.raises(ValueError, match="expected a regular file, came a pipe or a device"):
        files.read_bytes(tmp_path / "pipe")
    with pytest.raises(ValueError, match="expected a regular file, came a pipe or a device"):
        files.read_bytes("/dev/zero", piped=True)


def test_a_new_folder_takes_no_name_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "stems").mkdir()
    with pytest.raises(FileExistsError), writing_folder(tmp_path / "stems", new=True) as part:
        (part / "a.txt").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["stems"] and not any((tmp_path / "stems").iterdir())
    with writing_folder(tmp_path / "other", new=True) as part:
        (part / "a.txt").write_text("x")
    assert (tmp_path / "other/a.txt").read_text() == "x"


def test_a_hash_is_taken_once_until_the_file_may_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, taken = tmp_path / "a", []
    monkeypatch.setattr(files, "file_hash", lambda path: taken.append(path) or file_hash(path))
    path.write_bytes(b"one")
    assert known_hash(path) == known_hash(path) == file_hash(path) and len(taken) == 2  # just written: its times may be those of the next change
    there = os.stat(path)
    monkeypatch.setattr(files.time, "time_ns", lambda: there.st_ctime_ns + 10**10)
    assert known_hash(path) == known_hash(path) and len(taken) == 3
    path.write_bytes(b"two")
    os.utime(path, ns=(there.st_atime_ns, there.st_mtime_ns))  # as who hides a change would
    assert known_hash(path) == file_hash(path) and len(taken) == 4
