"""How quantities are put into words, wherever they are shown."""

from __future__ import annotations


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
