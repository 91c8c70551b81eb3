"""Files: written beside, synced and renamed; JSON; hashes; and the one sweep of what killed processes leave.

What is being written is called `.NAME.tmp-HOST-PROCESS-RANDOM` until it is whole, so that `sweep` can tell whose it is; a
folder that is to be replaced is called `.NAME.old-…` where that takes two steps, and `sweep` puts it back if a kill came
between them. A long NAME is cut, for a name that fits its file system has to be writable. Modes follow the umask.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

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

_in_flight: set[str] = set()  # names that this process is writing to


# Writing


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """A new, empty file beside `path` to write to; what it holds when the block ends is on the disk and called `path` then.

    After an error nothing is left, and `path` is as before. OSError in one line that names `path`.
    """
    path = Path(path)
    part = temporary_name(path)
    try:
        mode = _created(part)
        yield part
        if stat.S_IMODE(part.stat().st_mode) != mode:  # safetensors puts a file of its owner alone there
            part.chmod(mode)
        sync(part)
        os.replace(part, path)
        sync(path.parent)
    except OSError as error:
        raise _told(error, path, part) from None
    finally:
        part.unlink(missing_ok=True)
        _in_flight.discard(part.name)


@contextmanager
def writing_folder(folder: str | Path) -> Iterator[Path]:
    """A new, empty folder beside `folder` to fill; it takes the place of `folder`, and of what is there, when the block ends.

    Every file in it is to be synced, as `write_text`, `write_json` and `write_tensors` do. After an error nothing is left,
    and `folder` is as before. OSError in one line that names `folder`.
    """
    folder = Path(folder)
    part = temporary_name(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        yield part
        sync(part)
        if folder.exists():
            _replace_folder(part, folder)
        else:
            os.rename(part, folder)
        sync(folder.parent)
    except OSError as error:
        raise _told(error, folder, part) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _in_flight.discard(part.name)


def write_text(path: str | Path, text: str) -> None:
    """Writes text in UTF-8, whole or not at all."""
    with writing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, data: Any, indent: int | None = 1) -> None:
    """Writes JSON, whole or not at all; `indent=None` is the shortest form. What UTF-8 cannot hold of a text is escaped."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(data, indent=indent, ensure_ascii=False, separators=separators)
    if not _is_unicode(text):
        text = json.dumps(data, indent=indent, separators=separators)
    write_text(path, text + "\n")


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes contiguous tensors on the CPU as safetensors, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with writing(path) as part:
        try:
            save_file(dict(tensors), part, None if metadata is None else dict(metadata))
        except SafetensorError as error:
            raise OSError(f"cannot write {path}: {str(error) or 'it did not come out whole'}; is the disk full?") from None


def sync(what: str | Path | IO) -> None:
    """Has the disk keep a file, what was written to an open one, or the names in a folder where the system can do that."""
    if not isinstance(what, (str, Path)):
        what.flush()
        os.fsync(what.fileno())
        return
    try:
        descriptor = os.open(what, os.O_RDWR if WINDOWS else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        if not os.path.isdir(what):
            raise


def _created(part: Path) -> int:
    """Makes an empty file that was not there, under no name that leads elsewhere; its mode."""
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def _told(error: OSError, path: Path, part: Path) -> OSError:
    """The error as one line about `path`; what a caller has put into words, or is of another file, stays."""
    if error.strerror is None:
        return type(error)(str(error).replace(str(part), str(path))) if str(part) in str(error) else error
    if error.filename is not None and not str(error.filename).startswith(str(part)):
        return error
    return type(error)(f"cannot write {path}: {error.strerror}")


def _replace_folder(new: Path, folder: Path) -> None:
    """Puts `new` in the place of `folder`; what was there is called `new` then."""
    if exchange(new, folder):
        return
    old = temporary_name(folder, OLD)
    os.rename(folder, old)
    try:
        os.rename(new, folder)
    except BaseException:
        os.rename(old, folder)
        raise
    finally:
        _in_flight.discard(old.name)
    os.rename(old, new)  # no longer what a sweep would put back


def exchange(one: Path, other: Path) -> bool:
    """Exchanges two names in one step, so that a kill finds both; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    library = ctypes.CDLL(None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return hasattr(library, "renameat2") and library.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


# Temporary names


def temporary_name(path: Path, mark: str = MARK) -> Path:
    """A name beside `path` that says who is writing to it."""
    name = f".{_stem(path.name)}{mark}{host_mark()}-{os.getpid():x}-{secrets.token_hex(3)}"
    _in_flight.add(name)
    return path.with_name(name)


def sweep(folder: str | Path, name: str | None = None, *, alone: bool = False) -> None:
    """Removes from a folder what killed processes were writing, of the file or folder `name`, or of any; a folder that one was replacing is put back if it is missing.

    What a living process of this machine writes stays, and so does what another machine has touched within a week. A caller
    that is `alone`, for it holds the lock of all who write there, has everything removed, under the names of earlier
    versions too.
    """
    older = re.compile((OLDER_OF_ANY if name is None else OLDER_OF_A_NAME).format(name=".+" if name is None else re.escape(name)), re.DOTALL)
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            ours = LEFT.fullmatch(entry.name)
            if entry.name in _in_flight or (ours and name is not None and ours["stem"] != _stem(name)):
                continue
            if (ours and _is_dead(ours, entry)) or (alone and (ours or older.fullmatch(entry.name))):
                if not (ours and ours["kind"] == "old" and _put_back(entry, ours["stem"], name)):
                    _remove(entry)


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


# JSON and hashes


def parse_json(text: str, where: str, kind: type = object) -> Any:
    """The JSON value of a text, of this kind (dict or list, or any); ValueError in one line that begins with `where`."""
    names = {dict: "a JSON object", list: "a JSON list"}
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"{where}: not JSON (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"{where}: not JSON ({error})") from None
    if not isinstance(value, kind):
        raise ValueError(f"{where}: expected {names.get(kind, kind.__name__)}, came {type(value).__name__}")
    return value


def read_json(path: str | Path, advice: str = "", kind: type = object) -> Any:
    """The JSON value in a file of ours, of this kind (dict or list, or any).

    FileNotFoundError where it is missing, OSError where it cannot be read, ValueError where it is damaged; each in one line
    that ends in `advice`, what to do then.
    """
    hint = f"; {advice}" if advice else ""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"), f"{path} is damaged", kind)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing{hint}") from None
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error.strerror}{hint}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: not text in UTF-8 ({error.reason} at byte {error.start}){hint}") from None
    except ValueError as error:
        raise ValueError(f"{error}{hint}") from None


def file_hash(path: str | Path, start: int = 0, num_bytes: int | None = None) -> str:
    """SHA-256, in hexadecimal, of a file or of the `num_bytes` from byte `start` on."""
    with open(path, "rb") as file:
        if num_bytes is None:
            file.seek(start)
            return hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(start)
        digest = hashlib.sha256()
        while num_bytes > 0 and (block := file.read(min(num_bytes, 2**20))):
            digest.update(block)
            num_bytes -= len(block)
        return digest.hexdigest()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
