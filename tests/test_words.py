"""Times, speeds and sizes as they are shown."""

from __future__ import annotations

import io

import pytest

from mousai.words import clock, printable, real_time, say, size


def test_times_are_read_at_a_glance() -> None:
    shown = ["0:00", "1:00", "1:01", "59:59", "1:00:00", "24:00:00", "0:00"]
    assert [clock(seconds) for seconds in (0, 59.6, 61, 3599, 3600, 86_400, -3)] == shown
    assert [clock(75, hours=True), clock(86399.6)] == ["0:01:15", "24:00:00"]


def test_speeds_and_sizes() -> None:
    assert [real_time(speed) for speed in (0.0123, 0.25, 3, 123.4)] == ["0.012x real time", "0.25x real time", "3x real time", "123x real time"]
    assert [size(number) for number in (0, 1.26e6, 999e6, 3.21e9)] == ["0.0 MB", "1.3 MB", "999.0 MB", "3.2 GB"]


@pytest.mark.parametrize(("text", "shown"), [
    ("a\tb\nc é 音", "a\tb\nc é 音"),
    ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
    ("\x9b31m \x7f\r", "\\x9b31m \\x7f\\r"),
    ("\u202etxt.exe \udcff", "\\u202etxt.exe \\udcff"),
])  # fmt: skip
def test_what_others_wrote_does_not_steer_the_terminal(text: str, shown: str) -> None:
    stream = io.StringIO()
    say(text, 3, to=stream)
    assert printable(text) == shown and stream.getvalue() == f"{shown}\n3\n"
