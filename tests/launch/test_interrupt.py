"""A polite stop: noted once, then as the system has it; a limit in time; nothing outside the block."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import soundfile

from mousai.launch.interrupt import Interrupt, insist


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_first_signal_is_noted_and_a_second_one_acts(name: signal.Signals) -> None:
    heard: list[int] = []
    before = signal.signal(name, lambda number, frame: heard.append(number))
    try:
        with Interrupt() as interrupt:
            assert not interrupt.requested and not interrupt.signalled
            os.kill(os.getpid(), name)
            assert interrupt.requested and interrupt.signalled and interrupt.signal is name and heard == []
            os.kill(os.getpid(), name)
            assert heard == [name]
        os.kill(os.getpid(), name)
        assert heard == [name, name]
    finally:
        signal.signal(name, before)


def test_a_limit_in_time_is_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("mousai.launch.interrupt.time.monotonic", lambda: now[0])
    with Interrupt(limit_minutes=2) as interrupt:
        assert not interrupt.requested
        now[0] += 121
        assert interrupt.requested and not interrupt.signalled


def test_a_rank_whose_launcher_is_gone_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = [os.getppid()]
    monkeypatch.setattr("mousai.launch.interrupt.os.getppid", lambda: parent[0])
    with Interrupt() as alone:
        monkeypatch.setenv("WORLD_SIZE", "2")
        with Interrupt() as rank:
            assert not rank.requested and rank.reason == ""
            parent[0] = 1
            assert rank.requested and rank.signalled and rank.reason == "its launcher is gone"
            assert not alone.requested  # whoever has started it may go


def test_a_thread_may_have_one_though_it_takes_no_handlers() -> None:
    seen: list[bool] = []

    def work() -> None:
        with Interrupt() as interrupt:
            seen.append(interrupt.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


@pytest.mark.parametrize(("name", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_while_a_library_reads_through_our_file_comes_again(name, error, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # restored afterwards
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8000)

    def end(*_: object) -> None:
        raise error

    class Signalled(io.BytesIO):
        calls = 0

        def tell(self) -> int:
            self.calls += 1
            if self.calls == 1:
                signal.raise_signal(name)
            return super().tell()

    before = signal.signal(name, end)
    insist()
    try:
        with pytest.raises(error):
            with suppress(soundfile.LibsndfileError):  # what the library makes of it
                soundfile.SoundFile(Signalled((tmp_path / "a.wav").read_bytes()))
            time.sleep(60)
    finally:
        signal.signal(name, before)
