"""How far a measurement is, for who waits for it: named parts, each with a progress of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mousai.types import Callback

Phase = Callable[[str], Callback]  # begins a part that is named, gives what is told (done, total) of it
Item = TypeVar("Item")


def silent(what: str) -> Callback:
    """For who does not wait."""
    return lambda done, total: None


def counted(items: Sequence[Item], progress: Callback) -> Iterator[Item]:
    """The items one by one; `progress` hears of each that is done."""
    for number, item in enumerate(items):
        yield item
        progress(number + 1, len(items))
