"""A polite stop: SIGTERM, SIGINT and a time limit are noted, and the loop ends after the step that it is in."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
AGAIN = 0.05  # seconds after which a signal that was lost comes again


def insist() -> None:
    """From now on a signal whose exception is lost comes again: where a library calls back into Python none gets out (cffi, ctypes)."""
    usual = sys.unraisablehook

    def again(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, (KeyboardInterrupt, SystemExit)):
            number = signal.SIGINT if isinstance(lost.exc_value, KeyboardInterrupt) else signal.SIGTERM
            threading.Timer(AGAIN, os.kill, (os.getpid(), number)).start()
        else:
            usual(lost)

    sys.unraisablehook = again


class Interrupt:
    """Within the block signals only set a flag; a second one acts as it would have without us.

    A process of several that were launched together is also interrupted when its launcher has died, for nobody would stop it then.
    """

    def __init__(self, limit_minutes: float | None = None) -> None:
        self.launcher = os.getppid() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else None
        self.deadline = None if limit_minutes is None else time.monotonic() + 60 * limit_minutes
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    @property
    def signalled(self) -> bool:
        return self.signal is not None or self.orphaned

    @property
    def orphaned(self) -> bool:
        """Whether the launcher that this process had is gone."""
        return self.launcher is not None and os.getppid() != self.launcher

    @property
    def reason(self) -> str:
        """What has interrupted, in words; "" for nothing, or the time limit."""
        return self.signal.name if self.signal else "its launcher is gone" if self.orphaned else ""

    @property
    def requested(self) -> bool:
        """Whether to stop after this step."""
        return self.signalled or (self.deadline is not None and time.monotonic() >= self.deadline)

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no handlers
            self._before = {name: signal.signal(name, self._note) for name in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)
        self._before = {}
