"""Reading ahead of who uses what is read, in order and in bounded memory, and gathering what can be worked on together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")


def ahead(pool: Executor, calls: Iterable[tuple[int, Callable[[], T]]], most: int, limit: int) -> Iterator[T]:
    """The results of `calls`, in their order, while the pool works on those that follow.

    Each call comes with the size of its result. At most `most` results are waited for or wait at a time, and of more than
    one the sizes add up to at most `limit`. The error of a call is raised where its result would come.
    """
    waiting: deque[tuple[int, Future[T]]] = deque()
    held = 0
    try:
        for size, call in calls:
            while waiting and (len(waiting) >= most or held + size > limit):
                held -= waiting[0][0]
                yield waiting.popleft()[1].result()
            waiting.append((size, pool.submit(call)))
            held += size
        while waiting:
            yield waiting.popleft()[1].result()
    finally:
        for _, future in waiting:
            future.cancel()


def alike(things: Iterable[T], kind: Callable[[T], Hashable], size: Callable[[T], int], most: int, limit: int) -> Iterator[list[T]]:
    """Groups of at most `most` things of one kind, each as soon as it is full; what waits for more adds up to about `limit`."""
    groups: dict[Hashable, list[T]] = {}
    held = 0
    for thing in things:
        group = groups.setdefault(kind(thing), [])
        group.append(thing)
        held += size(thing)
        if len(group) == most or held > limit:
            fullest = max(groups, key=lambda name: len(groups[name]))
            held -= sum(map(size, groups[fullest]))
            yield groups.pop(fullest)
    yield from groups.values()
