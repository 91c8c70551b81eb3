"""Files: written beside, synced and renamed; JSON; hashes.

What is being written has one of the names of leftovers.py until it is whole. Modes follow the umask.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mousai.leftovers import OLD, in_flight, remove_folder, sweep_once, temporary_name

if TYPE_CHECKING:
    from torch import Tensor

WINDOWS = os.name == "nt"
_hashes: dict[tuple[int, ...], str] = {}  # of files that this process has read, by what the system says of them
MOST_BYTES = 64 * 2**20  # that are read of a file which others may have written


# Writing


@contextmanager
def writing(path: str | Path, *, new: bool = False) -> Iterator[Path]:
    """A new, empty file beside `path` to write to; what it holds when the block ends is on the disk and called `path` then.

    After an error nothing is left, and `path` is as before. OSError in one line that names `path`; FileExistsError where it is
    to be `new` and something has that name by then.
    """
    path = Path(path)
    sweep_once(path.parent)
    part = temporary_name(path)
    try:
        mode = _created(part)
        yield part
        if stat.S_IMODE(part.stat().st_mode) != mode:  # safetensors puts a file of its owner alone there
            part.chmod(mode)
        sync(part)
        if new:
            _name_anew(part, path)
        else:
            os.replace(part, path)
        sync(path.parent)
    except OSError as error:
        raise _told(error, path, part) from None
    finally:
        part.unlink(missing_ok=True)
        in_flight.discard(part.name)


@contextmanager
def writing_folder(folder: str | Path, *, new: bool = False) -> Iterator[Path]:
    """A new, empty folder beside `folder` to fill; it takes the place of `folder`, and of what is there, when the block ends.

    Every file in it is to be synced, as `write_text`, `write_json` and `write_tensors` do. After an error nothing is left,
    and `folder` is as before. OSError in one line that names `folder`; `new` is as of `writing`.
    """
    folder = Path(folder)
    sweep_once(folder.parent)
    part = temporary_name(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        yield part
        sync(part)
        if new:
            _name_anew(part, folder)
        elif folder.exists():
            _replace_folder(part, folder)
        else:
            os.rename(part, folder)
        sync(folder.parent)
    except OSError as error:
        raise _told(error, folder, part) from None
    finally:
        remove_folder(part)
        in_flight.discard(part.name)


def write_text(path: str | Path, text: str) -> None:
    """Writes text in UTF-8, whole or not at all."""
    with writing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def append_text(path: str | Path, text: str, *, synced: bool = False) -> None:
    """Adds text in UTF-8 to the end of a file, made if need be; never through a link. OSError in one line that names `path`.

    Where it is to be `synced` it is on the disk then.
    """
    path = Path(path)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o666), "a", encoding="utf-8", newline="\n") as file:
            file.write(text)
            if synced:
                sync(file)
    except OSError as error:
        raise type(error)(f"cannot write {path}: {error.strerror}") from None


def write_json(path: str | Path, data: Any, indent: int | None = 1) -> None:
    """Writes JSON, whole or not at all; `indent=None` is the shortest form. What UTF-8 cannot hold of a text is escaped."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(data, indent=indent, ensure_ascii=False, separators=separators)
    if not _is_unicode(text):
        text = json.dumps(data, indent=indent, separators=separators)
    write_text(path, text + "\n")


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, *, new: bool = False) -> None:
    """Writes contiguous tensors on the CPU as safetensors, whole or not at all; `new` is as of `writing`."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with writing(path, new=new) as part:
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
        in_flight.discard(old.name)
    os.rename(old, new)  # no longer what a sweep would put back


def exchange(one: Path, other: Path) -> bool:
    """Exchanges two names in one step, so that a kill finds both; False where the system or the file system cannot."""
    return _rename(one, other, 2) == 0  # RENAME_EXCHANGE


def _name_anew(part: Path, path: Path) -> None:
    """Gives a file or folder a name in one step, or FileExistsError where something has it."""
    if WINDOWS:
        os.rename(part, path)  # which does so there
    elif (failed := _rename(part, path, 1)) == errno.EEXIST:  # RENAME_NOREPLACE
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    elif failed:  # not in this system or file system
        try:
            os.link(part, path)  # `part` goes when the block ends
        except FileExistsError:
            raise
        except OSError:  # nor that; a race is possible then
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            os.rename(part, path)


def _rename(one: Path, other: Path, flag: int) -> int:
    """Linux' renameat2: 0, or the number of the error; ENOSYS on other systems."""
    if not sys.platform.startswith("linux"):
        return errno.ENOSYS
    import ctypes

    library, here = ctypes.CDLL(None, use_errno=True), -100  # AT_FDCWD
    if not hasattr(library, "renameat2"):
        return errno.ENOSYS
    return 0 if library.renameat2(here, os.fsencode(one), here, os.fsencode(other), flag) == 0 else ctypes.get_errno()


# Reading


def read_bytes(path: str | Path, most: int = MOST_BYTES, piped: bool = False) -> bytes:
    """The bytes of a file; ValueError where it has more than `most`, or is a device, or a pipe, which may keep one waiting.

    `piped`: a pipe will do as well, for what a user names, such as `<(…)` of a shell.
    """
    data = bytearray()
    with _opened(path, piped) as file:
        while block := file.read(min(2**20, most + 1 - len(data))):  # never `most` at once, which is taken whatever there is
            data += block
    if len(data) > most:
        raise ValueError(f"{path}: is larger than {most / 2**20:g} MiB, which is the most that is read of such a file")
    return bytes(data)


def _opened(path: str | Path, piped: bool = False) -> IO[bytes]:
    """A file, opened to be read without waiting for anybody (or `piped`); ValueError where it is no regular one."""
    waiting = 0 if piped else getattr(os, "O_NONBLOCK", 0)
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | waiting))  # noqa: SIM115
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode) or (piped and stat.S_ISFIFO(mode)):
        return file
    file.close()
    raise ValueError(f"{path}: expected a regular file, came a pipe or a device")


# JSON and hashes


def finite_number(text: str) -> float:
    """The number that a text says; ValueError for one that is infinite or none."""
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


FINITE_JSON = json.JSONDecoder(parse_float=finite_number, parse_constant=finite_number)  # as JSON is defined


def parse_json(text: str, where: str, kind: type = object, finite: bool = False) -> Any:
    """The JSON value of a text, of this kind (dict or list, or any); ValueError in one line that begins with `where`, if `finite` also for NaN and infinities."""
    names = {dict: "a JSON object", list: "a JSON list"}
    try:
        value = FINITE_JSON.decode(text) if finite else json.loads(text)
    except RecursionError:
        raise ValueError(f"{where}: not JSON (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"{where}: not JSON ({error})") from None
    if not isinstance(value, kind):
        raise ValueError(f"{where}: expected {names.get(kind, kind.__name__)}, came {type(value).__name__}")
    return value


def read_json(path: str | Path, advice: str = "", kind: type = object, most: int = MOST_BYTES) -> Any:
    """The JSON value in a file of ours, of this kind (dict or list, or any), of at most so many bytes.

    FileNotFoundError where it is missing, OSError where it cannot be read, ValueError where it is damaged; each in one line
    that ends in `advice`, what to do then.
    """
    hint = f"; {advice}" if advice else ""
    try:
        return parse_json(read_bytes(path, most).decode(), f"{path} is damaged", kind)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing{hint}") from None
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error.strerror}{hint}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: not text in UTF-8 ({error.reason} at byte {error.start}){hint}") from None
    except ValueError as error:
        raise ValueError(f"{error}{hint}") from None


def file_hash(path: str | Path, start: int = 0, num_bytes: int | None = None) -> str:
    """SHA-256, in hexadecimal, of a regular file or of the `num_bytes` from byte `start` on."""
    with _opened(path) as file:
        if num_bytes is None:
            file.seek(start)
            return hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(start)
        digest = hashlib.sha256()
        while num_bytes > 0 and (block := file.read(min(num_bytes, 2**20))):
            digest.update(block)
            num_bytes -= len(block)
        return digest.hexdigest()


def known_hash(path: str | Path) -> str:
    """`file_hash` of a whole file, taken once in this process as long as the system says that the file is as it was: the same one, of the same size and times.

    Of one that changed within the last two seconds nothing is kept, for its times may not tell of the next change.
    """
    there = os.stat(path)
    key = (there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns)
    if (known := _hashes.get(key)) is None:
        known = file_hash(path)
        if time.time_ns() - max(there.st_ctime_ns, there.st_mtime_ns) > 2_000_000_000:
            _hashes[key] = known
    return known


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
