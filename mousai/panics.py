"""Panics of the tokenizers library: a damaged tokenizer file may have its Rust code panic when a text is read, long after it was loaded.

A panic reaches Python as a BaseException, after a report of several lines that Rust itself writes to descriptor 2. `told` makes one ValueError
of it, and of what is written there meanwhile it leaves out that report alone. It can go when tokenizers raises errors for such files.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.Lock()  # descriptor 2 is the process's


@contextmanager
def told(what: str) -> Iterator[None]:
    """ValueError that says that `what` is damaged in the place of a panic, or of the bare Exception that tokenizers raises, within the block."""
    panic: BaseException | None = None
    with _one_at_a_time:
        held = _hold()
        try:
            yield
        except BaseException as error:
            if type(error).__name__ != "PanicException" and type(error) is not Exception:  # which it raises for what it does find
                raise
            panic = error
        finally:
            _release(held, panic)
    if panic is not None:
        raise ValueError(f"{what} is damaged: {' '.join(str(panic).split())[:120]}") from None


def without_report(said: bytes, panic: str) -> bytes:
    """What was written to descriptor 2 without the report of a panic with this message, however often it is there."""
    report = rb"\n?thread '[^'\n]*' (?:\(\d+\) )?panicked at [^\n]*\n" + re.escape(panic.encode()) + rb"\n(?:stack backtrace:\n(?: +[^\n]*\n)*)?(?:note: [^\n]*RUST_BACKTRACE[^\n]*\n)?"
    return re.sub(report, b"", said)


def _hold() -> tuple[int, int] | None:
    """Has descriptor 2 be a file of ours; the one that it was, and ours. None where that cannot be done."""
    try:
        sys.stderr.flush()
        before = os.dup(2)
    except (OSError, AttributeError, ValueError):  # closed, or not there
        return None
    try:
        with tempfile.TemporaryFile() as file:
            ours = os.dup(file.fileno())
    except OSError:
        os.close(before)
        return None
    os.dup2(ours, 2)
    return before, ours


def _release(held: tuple[int, int] | None, panic: BaseException | None) -> None:
    """Gives descriptor 2 back, and writes there what was written meanwhile."""
    if held is None:
        return
    before, ours = held
    sys.stderr.flush()
    os.dup2(before, 2)
    os.close(before)
    with os.fdopen(ours, "rb") as file:
        file.seek(0)
        said = file.read()
    said = said if panic is None else without_report(said, str(panic))
    while said:
        said = said[os.write(2, said) :]
