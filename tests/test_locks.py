"""One lock: held by one, given back by a kill, spoiling nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mousai import locks
from mousai.locks import Locked, is_locked, locked

ROOT = Path(__file__).parent.parent
HOLD = "import sys, time\nfrom mousai.locks import locked\nwith locked(sys.argv[1]):\n    print('mine', flush=True)\n    time.sleep(60)"


def python(program: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True)



def test_one_holds_a_lock_and_a_kill_gives_it_back(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / "lock"
    assert not is_locked(lock)
    process = python(HOLD, lock)
    assert process.stdout.readline() == "mine\n"
    assert is_locked(lock)
    with pytest.raises(Locked, match=rf"folder/lock: another process \({process.pid} on \S+\) holds the lock") as caught, locked(lock):
        pass
    assert caught.value.holder.startswith(f"another process ({process.pid} on ")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not is_locked(lock)
    with locked(lock):
        with pytest.raises(Locked, match=f"process .{os.getpid()} on"), locked(lock):
            pass
    assert not is_locked(lock)


def test_looking_keeps_nobody_from_a_lock(tmp_path: Path) -> None:
    import fcntl

    with open(tmp_path / "lock", "w") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        threading.Timer(0.05, fcntl.flock, (looked_at, fcntl.LOCK_UN)).start()
        assert not is_locked(tmp_path / "lock")
        with locked(tmp_path / "lock"):
            assert is_locked(tmp_path / "lock")


def test_whoever_waits_at_a_folder_that_is_removed_makes_it_anew(tmp_path: Path, monkeypatch) -> None:
    lock, take_lock, first = tmp_path / "folder" / "lock", locks.take_lock, []

    def take(descriptor: int) -> None:
        if not first:  # its holder finishes between our opening of the lock and our taking it
            first.append(descriptor)
            lock.unlink()
            lock.parent.rmdir()
        take_lock(descriptor)

    monkeypatch.setattr(locks, "take_lock", take)
    with locked(lock):
        assert is_locked(lock) and first


def test_a_lock_spoils_nothing(tmp_path: Path) -> None:
    """Neither what a link leads to, nor a file that holds anything else than a holder's name."""
    (tmp_path / "precious").write_text("years of work")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="the lock is a symbolic link, remove it"), locked(tmp_path / "link"):
        pass
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    with pytest.raises(OSError, match="the lock is a symbolic link, remove it"), locked(tmp_path / "dangling"):
        pass
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="the lock is no file, remove it"), locked(tmp_path / "pipe"):
        pass
    with locked(tmp_path / "precious"), pytest.raises(Locked, match="another process holds the lock"), locked(tmp_path / "precious"):
        pass
    assert (tmp_path / "precious").read_text() == "years of work" and not (tmp_path / "none").exists()


def test_two_that_want_a_lock_take_turns(tmp_path: Path) -> None:
    """Processes that count in a file without another lock lose no count, though each removes the lock's folder behind it."""
    program = """if True:
        import sys
        from pathlib import Path
        from mousai.locks import Locked, locked
        folder, count, done = Path(sys.argv[1]), Path(sys.argv[2]), 0
        while done < 100:
            try:
                with locked(folder / "lock"):
                    count.write_text(str(int(count.read_text()) + 1))
                    done += 1
                    (folder / "lock").unlink()
                    folder.rmdir()
            except (Locked, OSError):
                pass"""
    (tmp_path / "count").write_text("0")
    processes = [python(program, tmp_path / "folder", tmp_path / "count") for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "300"


@pytest.mark.skipif(os.name == "nt", reason="the real thing is tested there")
def test_locks_of_windows(tmp_path: Path, monkeypatch) -> None:
    """By a stand-in for msvcrt.locking: its locks are of bytes, which the holder's name must not be among."""
    import fcntl

    class Msvcrt:
        LK_NBLCK = 2
        held: set[tuple[int, int]] = set()

        @classmethod
        def locking(cls, descriptor: int, mode: int, num_bytes: int) -> None:
            assert (mode, num_bytes) == (cls.LK_NBLCK, 1) and os.lseek(descriptor, 0, os.SEEK_CUR) > 1000
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PermissionError(errno.EACCES, "Permission denied") from None

    monkeypatch.setattr(locks, "msvcrt", Msvcrt, raising=False)
    monkeypatch.setattr(locks, "WINDOWS", True)
    lock = tmp_path / "lock"
    assert not is_locked(lock)
    with locked(lock):
        assert is_locked(lock) and lock.stat().st_size < 100
        with pytest.raises(Locked, match=f"process .{os.getpid()} on"), locked(lock):
            pass
    assert not is_locked(lock)
