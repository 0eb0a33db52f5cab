"""Work in several processes: results in the order of the jobs, a bounded number of them under way."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait
from typing import TypeVar

import cv2
import torch

from underdraw.errors import UnderdrawError

__all__ = ["in_order"]

AHEAD = 3
"""Jobs per worker that are under way or wait to be taken, so that memory stays bounded."""

J = TypeVar("J")
R = TypeVar("R")


def in_order(work: Callable[[J], R], jobs: Iterable[J], workers: int) -> Iterator[R]:
    """`work` of each job, in the order of the jobs. Each worker is a process of one thread; one is this process itself.

    Raises what `work` raises, and UnderdrawError where a worker died.
    """
    if workers == 1:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit the libraries' locks without their threads
    waiting, running = iter(jobs), deque[Future[R]]()
    with ProcessPoolExecutor(workers, context, initializer=_begin) as pool:
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


def _begin() -> None:
    """In a worker: one thread, for the other cores have workers of their own; and an end when the parent is killed."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
