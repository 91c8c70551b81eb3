"""The one lock: of a file, held by one process, given back by the system however that ends; `flock`, or a byte's lock on Windows."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if os.name == "nt":
    import msvcrt
else:
    import fcntl

WINDOWS = os.name == "nt"
LOOKS, LOOK_SECONDS = 5, 0.03  # for which a lock that is only looked at is waited for
CHANCES = 100  # to make and lock a file whose folder others remove meanwhile
HOLDER = re.compile(r"([0-9]{1,10}) on ([A-Za-z0-9._-]{1,64})\n")
WINDOWS_LOCK_AT = 2**30  # the byte that is locked there, for what is locked cannot be read


class Locked(ValueError):
    """Another process holds a lock; `holder` says which, as far as it is known."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path}: {holder} holds the lock")
        self.path, self.holder = path, holder


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Holds the lock of the file `path`, which is made together with its folder; Locked where another process does.

    The system gives it back however the process ends, and the file may stay. Whoever holds it may remove file and folder:
    a process that had opened the file meanwhile makes both anew. OSError where the file cannot be made or is not one.
    """
    descriptor = _lock(Path(path))
    try:
        yield
    finally:
        os.close(descriptor)


def is_locked(path: str | Path) -> bool:
    """Whether a process holds the lock of the file `path`; who takes it meanwhile waits for the look to end.

    On Windows several looks at once may take one another for a holder.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return False
    try:
        _take(descriptor, for_a_look=True)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def take_lock(descriptor: int) -> None:
    """Takes the lock of an open file for this process alone; BlockingIOError if another holds it for longer than a look takes."""
    for look in range(LOOKS):
        try:
            return _take(descriptor)
        except BlockingIOError:
            if look == LOOKS - 1:
                raise
            time.sleep(LOOK_SECONDS)


def _lock(path: Path) -> int:
    """The descriptor of the locked file."""
    for chance in range(CHANCES):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _open_lock(path)
        except (FileNotFoundError, FileExistsError):  # whoever held it has just removed the folder
            if chance == CHANCES - 1:
                raise
            continue
        try:
            take_lock(descriptor)
        except BaseException as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise Locked(path, holder) from None
            raise
        if os.fstat(descriptor).st_nlink:
            _sign(descriptor)
            return descriptor
        os.close(descriptor)  # it was removed before it was ours
    raise Locked(path, "another process")


def _open_lock(path: Path) -> int:
    """Opens a lock file, made if need be; never through a link, and nothing that it holds is lost."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise OSError(error.errno, "the lock is a symbolic link, remove it", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "the lock is no file, remove it", str(path))
    return descriptor


def _take(descriptor: int, for_a_look: bool = False) -> None:
    """Takes a lock or BlockingIOError; one `for_a_look` can be held by several."""
    if WINDOWS:
        os.lseek(descriptor, WINDOWS_LOCK_AT, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            raise BlockingIOError from None
    else:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if for_a_look else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _sign(descriptor: int) -> None:
    """Writes down who holds the lock, unless the file holds anything else."""
    with suppress(OSError):  # the lock holds without
        about = os.fstat(descriptor)
        if about.st_nlink == 1 and (about.st_size == 0 or _read_holder(descriptor)):
            host = re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname())[:64]
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"{os.getpid()} on {host}\n".encode())


def _holder(descriptor: int) -> str:
    with suppress(OSError):
        if found := _read_holder(descriptor):
            return f"another process ({found[1]} on {found[2]})"
    return "another process"


def _read_holder(descriptor: int) -> re.Match | None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return HOLDER.fullmatch(os.read(descriptor, 128).decode("ascii", "replace"))
