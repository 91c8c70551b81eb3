"""Which classes outside mousai a model folder may name: loading it then runs code of whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ALL = "*"
_TRUSTED: ContextVar[frozenset[str]] = ContextVar("trusted", default=frozenset())


@contextmanager
def trusting(names: bool | Iterable[str] = True) -> Iterator[None]:
    """Within the block, of this thread, classes of these names are trusted beside those that were already; True = all, False = none."""
    added = frozenset([ALL] if names is True else names or ())
    before = _TRUSTED.set(_TRUSTED.get() | added)
    try:
        yield
    finally:
        _TRUSTED.reset(before)


def is_trusted(name: str) -> bool:
    """Whether somebody has said so of the class `package.module:Class`."""
    return not _TRUSTED.get().isdisjoint((ALL, name))
