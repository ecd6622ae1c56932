"""Giving freed host memory back, so that a peak follows what is held at one time."""

import ctypes
import sys

import pyarrow as pa

# glibc's; other C libraries have none.
_TRIM = sys.platform == "linux" and getattr(ctypes.CDLL(None), "malloc_trim", None)


def return_freed_memory() -> None:
    """Hands what this process has freed back to the system.

    For loops that run for hours, once a block: buffers are made and freed by dozens of
    threads, and what allocators keep of them grows with the number of blocks though
    what is in use does not. Takes some 10 ms.
    """
    pa.default_memory_pool().release_unused()
    if _TRIM:
        _TRIM(0)
