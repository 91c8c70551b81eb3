"""What somebody has allowed what others wrote to do: name classes outside mousai, whose code then runs, run commands, use the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ALL = "*"
PIPES = "pipes"  # a data source may be the output of a command: pipe:…
DOWNLOADS = "downloads"  # what a model folder names, such as its text encoder, may be fetched
_ALLOWED: ContextVar[frozenset[str]] = ContextVar("allowed", default=frozenset())
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


@contextmanager
def allowing(*what: str) -> Iterator[None]:
    """Within the block, of this thread, PIPES or DOWNLOADS are allowed beside what was already."""
    before = _ALLOWED.set(_ALLOWED.get() | frozenset(what))
    try:
        yield
    finally:
        _ALLOWED.reset(before)


def is_allowed(what: str) -> bool:
    """Whether somebody has allowed it."""
    return what in _ALLOWED.get()
