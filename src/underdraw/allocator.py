"""Memory that is given back and asked for again a thousand times a second, kept instead."""

import ctypes
import sys

__all__ = ["keep_pages"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""mallopt's names for them (glibc's malloc.h)."""


def keep_pages() -> bool:
    """Have this process keep the memory that it frees, and serve tensors up to 1 GiB from it; whether that is possible.

    By default glibc maps every tensor above some hundred kilobytes anew, and the kernel fills it with zeros page by
    page: a third of the time of an annotator, a seventh of a drawing's. Only memory is touched, no result. For
    processes that are ours (commands, workers), not for somebody's who imports the package.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(TRIM_THRESHOLD, -1))
