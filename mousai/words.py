"""How quantities are put into words, wherever they are shown."""

from __future__ import annotations

import re
import sys
from typing import TextIO

# Control characters but for line ends and tabs, what turns the direction of writing, and halves of characters.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    """A text as a terminal may have it, whoever wrote it: what would steer the terminal, or is no character, as an escape."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def say(*lines: object, to: TextIO | None = None) -> None:
    """Prints lines, `printable`, to stdout or another stream. Whatever mousai prints goes this way."""
    print(*map(printable, lines), sep="\n", file=sys.stdout if to is None else to, flush=True)


def clock(seconds: float, hours: bool = False) -> str:
    """Seconds as m:ss or, from an hour on or if asked for, h:mm:ss; "0:00" for less than none."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if hours or minutes >= 60 else f"{minutes}:{rest:02}"


def real_time(speed: float) -> str:
    """A speed: "0.25x real time"."""
    return f"{speed:.2g}x real time" if speed < 10 else f"{speed:.0f}x real time"


def size(num_bytes: float) -> str:
    """A size on a disk: "3.2 GB"."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
