"""Whether a model folder may name classes outside mousai: loading it then runs code of whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_TRUST: ContextVar[bool] = ContextVar("trust", default=False)


@contextmanager
def trusting(trust: bool = True) -> Iterator[None]:
    """Within the block model folders are trusted, if they were not already."""
    before = _TRUST.set(trust or _TRUST.get())
    try:
        yield
    finally:
        _TRUST.reset(before)


def is_trusted() -> bool:
    """Whether somebody has said so."""
    return _TRUST.get()
