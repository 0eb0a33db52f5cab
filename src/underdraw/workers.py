"""Work in several processes: results in the order of the jobs, a bounded number of them under way.

Where the system can fork, workers are forked from a server: a process of one thread that has imported what they need.
Importing takes longer than a hundred pictures do, and a fork of this process would inherit the locks of its libraries
without the threads that hold them. Elsewhere each worker imports anew.
"""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from typing import TypeVar

from underdraw.allocator import keep_pages
from underdraw.errors import UnderdrawError

__all__ = ["in_order", "summon"]

AHEAD = 3
"""Jobs per worker that are under way or wait to be taken, so that memory stays bounded."""

J = TypeVar("J")
R = TypeVar("R")


def summon(*modules: str) -> None:
    """Start the server that workers are forked from; it imports these modules while this process does other things.

    Not needed, only quicker; nothing happens where it runs already, or where processes cannot fork.
    """
    context = _context()
    if context.get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        context.set_forkserver_preload(["__main__", *modules])
        ensure_running()


def in_order(work: Callable[[J], R], jobs: Iterable[J], workers: int) -> Iterator[R]:
    """`work` of each job, in the order of the jobs. Each worker is a process of one thread; one is this process itself.

    Raises what `work` raises, and UnderdrawError where a worker died.
    """
    if workers == 1:
        yield from map(work, jobs)
        return
    summon(work.__module__)
    waiting, running = iter(jobs), deque[Future[R]]()
    with ProcessPoolExecutor(workers, _context(), initializer=_begin) as pool:
        try:
            running.extend(pool.submit(work, job) for job in islice(waiting, AHEAD * workers))
            while running:
                yield running.popleft().result()
                running.extend(pool.submit(work, job) for job in islice(waiting, 1))
        except BrokenProcessPool as error:
            raise UnderdrawError(
                "a worker process died, killed for its memory or by a damaged file; try again with fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _context() -> BaseContext:
    can_fork = "forkserver" in multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if can_fork else "spawn")


def _begin() -> None:
    """In a worker: one thread, for the other cores have workers of their own; and an end when the parent is killed."""
    import cv2
    import torch

    keep_pages()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
