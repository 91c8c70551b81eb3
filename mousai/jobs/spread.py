"""Work on many files in several processes, each with one thread."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from threadpoolctl import threadpool_limits

Given, Made = TypeVar("Given"), TypeVar("Made")


def spread(work: Callable[[Given], Made], items: Sequence[Given], workers: int | None = None, chunk: int = 4) -> Iterator[Made]:
    """What `work` makes of each item, in this process or in `workers` (one a usable core unless said), as it is finished.

    Close it where it may not be read to its end; `work` is a function of a module, or a partial of one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # Linux alone has it
    workers = min(workers or cores, len(items))
    if workers <= 1:
        with threadpool_limits(1):  # many small matrix products: BLAS threads only wait for one another
            yield from map(work, items)
        return
    context = multiprocessing.get_context("spawn")  # not forked: the parent may run torch's threads
    with context.Pool(workers, initializer=threadpool_limits, initargs=(1,)) as pool:
        yield from pool.imap_unordered(work, items, chunksize=chunk)
