"""A polite stop: noted once, then as the system has it; a limit in time; nothing outside the block."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from mousai.launch.interrupt import Interrupt


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
