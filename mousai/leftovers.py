"""The names of what is being written, and the one sweep of what killed processes leave.

What is being written is called `.NAME.tmp-HOST-PROCESS-RANDOM` until it is whole, so that `sweep` can tell whose it is; a
folder that is to be replaced is called `.NAME.old-…` where that takes two steps, and `sweep` puts it back if a kill came
between them. A long NAME is cut, for a name that fits its file system has to be writable.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

WINDOWS = os.name == "nt"
MARK, OLD = ".tmp-", ".old-"
SHORT_BYTES = 120  # a temporary name has at most so many, or as many as the name itself
MARK_BYTES = len(".") + len(MARK) + 4 + 1 + 8 + 1 + 6
LEFT = re.compile(r"\.(?P<stem>.+)\.(?P<kind>tmp|old)-(?P<host>[0-9a-f]{4})-(?P<process>[0-9a-f]{1,8})-[0-9a-f]{6}", re.DOTALL)
CUT = re.compile(r".+~[0-9a-f]{8}", re.DOTALL)  # a stem that may not be the whole name
# What earlier versions, and safetensors, call what they are writing; none says whose it is.
OLDER_KINDS = r"{name}\.tmp-[0-9a-f]+|\.{name}\.new|{name}(\.[0-9]+)?\.part"
OLDER_OF_A_NAME = OLDER_KINDS + r"|\.{name}\.[a-z0-9_]{{8}}"
OLDER_OF_ANY = OLDER_KINDS + r"|\.tmp[A-Za-z0-9]{{6}}"
FORGOTTEN_SECONDS = 7 * 86400.0  # after which another machine's process no longer writes

in_flight: set[str] = set()  # names that this process is writing to
_swept: set[tuple[int, str]] = set()  # processes and the folders that they have swept once


def temporary_name(path: Path, mark: str = MARK) -> Path:
    """A name beside `path` that says who is writing to it."""
    name = f".{_stem(path.name)}{mark}{host_mark()}-{os.getpid():x}-{secrets.token_hex(3)}"
    in_flight.add(name)
    return path.with_name(name)


def sweep_once(folder: str | Path) -> None:
    """`sweep`s a folder the first time that this process asks for it: whoever writes there removes what the dead left."""
    place = (os.getpid(), os.path.abspath(folder))
    if place not in _swept:
        _swept.add(place)
        sweep(folder)


def sweep(folder: str | Path, name: str | None = None, *, alone: bool = False) -> None:
    """Removes from a folder what killed processes were writing, of the file or folder `name`, or of any; a folder that one was replacing is put back if it is missing.

    What a living process of this machine writes stays, and so does what another machine has touched within a week. A caller
    that is `alone`, for it holds the lock of all who write there, has everything removed, under the names of earlier
    versions too.
    """
    older = re.compile((OLDER_OF_ANY if name is None else OLDER_OF_A_NAME).format(name=".+" if name is None else re.escape(name)), re.DOTALL)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            ours = LEFT.fullmatch(entry.name)
            if entry.name in in_flight or (ours and name is not None and ours["stem"] != _stem(name)):
                continue
            if (ours and _is_dead(ours, entry)) or (alone and (ours or older.fullmatch(entry.name))):
                if not (ours and ours["kind"] == "old" and _put_back(entry, ours["stem"], name)):
                    _remove(entry)


def remove_folder(folder: Path) -> None:
    """Removes a folder as far as that can be done, though a signal that ends this process may come on the way."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _stem(name: str) -> str:
    """The name, or as much of its beginning as fits, with a hash of the whole, where it is long."""
    encoded = os.fsencode(name)
    room = max(len(encoded), SHORT_BYTES) - MARK_BYTES
    if len(encoded) <= room:
        return name
    digest = hashlib.blake2b(encoded, digest_size=4).hexdigest()
    return encoded[: room - len(digest) - 1].decode("utf-8", "ignore") + "~" + digest


def host_mark() -> str:
    """Four hexadecimal digits that stand for this machine in a temporary name."""
    return hashlib.blake2b(socket.gethostname().encode(), digest_size=2).hexdigest()


def _is_dead(ours: re.Match, entry: os.DirEntry) -> bool:
    process = int(ours["process"], 16)
    if ours["host"] != host_mark():
        with suppress(OSError):
            return time.time() - entry.stat(follow_symlinks=False).st_mtime > FORGOTTEN_SECONDS
        return False
    return process == os.getpid() or not _is_alive(process)  # ours that is in flight was not asked about


def _is_alive(process: int) -> bool:
    if WINDOWS:
        import ctypes

        kernel, still_active, code = ctypes.windll.kernel32, 259, ctypes.c_ulong()
        handle = kernel.OpenProcess(0x1000, False, process)  # PROCESS_QUERY_LIMITED_INFORMATION
        alive = bool(handle) and bool(kernel.GetExitCodeProcess(handle, ctypes.byref(code))) and code.value == still_active
        kernel.CloseHandle(handle)
        return alive
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    except OverflowError:
        return False
    return True


def _put_back(entry: os.DirEntry, stem: str, name: str | None) -> bool:
    """Gives a folder its name again unless something has it; False then. One of a cut name waits for whoever knows that."""
    folder = os.path.dirname(entry.path)
    if any(_stem(other) == stem for other in os.listdir(folder)):
        return False
    if name is not None or not CUT.fullmatch(stem):
        with suppress(OSError):
            os.rename(entry.path, os.path.join(folder, name or stem))
    return True


def _remove(entry: os.DirEntry) -> None:
    with suppress(OSError):  # what cannot be removed does no harm
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
