"""A sorting network for sixteen columns at once, for CPUs.

Compare-exchanges of whole rows of a tile [rows, LANES] sort every column with vector
minima and maxima and no branch, several times faster than any sort of one column
after the other. The order is that of bitonic merge sort (Batcher 1968, *Sorting
networks and their applications*), with all runs ascending: a merge first compares
mirrored rows of two runs, then rows at halving distances. Runs begin as blocks of
four to seven rows, so that little has to be filled up: a quarter at most.
"""

from collections.abc import Sequence
from typing import Any

from expertjax.scoring.lanes import Rows, maximum, minimum, vectorized
from expertjax.scoring.native import native

_CACHED_ROWS = 256  # of 64 bytes: half of a usual first-level cache

# Comparators (i, j): the smaller key goes to row i. Optimal networks (Knuth, *The
# Art of Computer Programming* 3, section 5.3.4) and the merges' last steps.
_SORT_4 = ((0, 2), (1, 3), (0, 1), (2, 3), (1, 2))
_SORT_5 = (
    (0, 3), (1, 4), (0, 2), (1, 3), (0, 1), (2, 4), (1, 2), (3, 4), (2, 3),
)  # fmt: skip
_SORT_6 = (
    (0, 5), (1, 3), (2, 4), (1, 2), (3, 4), (0, 3), (2, 5), (0, 1), (2, 3), (4, 5),
    (1, 2), (3, 4),
)  # fmt: skip
_SORT_7 = (
    (0, 6), (2, 3), (4, 5), (0, 2), (1, 4), (3, 6), (0, 1), (2, 5), (3, 4), (1, 2),
    (4, 6), (2, 3), (4, 5), (1, 2), (3, 4), (5, 6),
)  # fmt: skip
_HALVE_2 = ((0, 1),)
_HALVE_4 = ((0, 2), (1, 3), (0, 1), (2, 3))
_HALVE_8 = (
    (0, 4), (1, 5), (2, 6), (3, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 1), (2, 3),
    (4, 5), (6, 7),
)  # fmt: skip
_MIRROR_4 = ((0, 3), (1, 2), (0, 1), (2, 3))
_MIRROR_8 = ((0, 7), (1, 6), (2, 5), (3, 4), *_HALVE_8[4:])


def _exchange(comparators: Sequence[tuple[int, int]]) -> Any:
    """`f((tile, *rows))`: the comparators between some rows of an int32 tile."""

    @vectorized
    def exchange(tile: Rows, *rows: Any) -> None:
        keys = [tile[row] for row in rows]
        for i, j in comparators:
            keys[i], keys[j] = minimum(keys[i], keys[j]), maximum(keys[i], keys[j])
        for row, key in zip(rows, keys, strict=True):
            tile[row] = key

    return exchange


_sort_4, _sort_5, _sort_6, _sort_7 = map(
    _exchange, (_SORT_4, _SORT_5, _SORT_6, _SORT_7)
)
_halve_2, _halve_4, _halve_8 = map(_exchange, (_HALVE_2, _HALVE_4, _HALVE_8))
_mirror_4, _mirror_8 = map(_exchange, (_MIRROR_4, _MIRROR_8))


@native()
def tile_rows(n):  # type: ignore[no-untyped-def]
    """(rows, first): the rows of a tile for n keys, and of its first runs.

    rows = first * 2^k >= n is the least with first in 4 to 7.
    """
    best, best_first = 0, 0
    for first in range(4, 8):
        rows = first
        while rows < n:
            rows *= 2
        if best == 0 or rows < best:
            best, best_first = rows, first
    return best, best_first


@native()
def sort_tile(tile, rows, first):  # type: ignore[no-untyped-def]
    """Sorts every column in ascending order, in place.

    Args:
      tile: int32 [at least rows, LANES], contiguous.
      rows: how many of its rows to sort, by `tile_rows`.
      first: by `tile_rows`.
    """
    block = first
    while 2 * block <= min(rows, _CACHED_ROWS):
        block *= 2
    # Whole blocks that stay in the cache, then the merges that do not.
    for start in range(0, rows, block):
        _sort_first(tile, start, start + block, first)
        size = 2 * first
        while size <= block:
            for run in range(start, start + block, size):
                _merge(tile, run, size, first)
            size *= 2
    size = 2 * block
    while size <= rows:
        for run in range(0, rows, size):
            _merge(tile, run, size, first)
        size *= 2


@native()
def _merge(tile, start, size, first):  # type: ignore[no-untyped-def]
    """Merges two ascending runs of size / 2 rows."""
    last = start + size - 1
    if size >= 8 * first:
        q = size // 8
        for i in range(start, start + q):
            j = last - (i - start)
            rows = (i, i + q, i + 2 * q, i + 3 * q, j - 3 * q, j - 2 * q, j - q, j)
            _mirror_8((tile, *rows))
        distance = q // 2
    elif size == 4 * first:
        for i in range(start, start + first):
            j = last - (i - start)
            _mirror_4((tile, i, i + first, j - first, j))
        distance = 0
    else:
        for i in range(start, start + first):
            _halve_2((tile, i, last - (i - start)))
        distance = 0
    # From here, blocks of twice the distance have nothing to do with each other.
    while 2 * distance > _CACHED_ROWS and distance >= 4 * first:
        _halve_thrice(tile, start, start + size, distance)
        distance //= 8
    block = max(2 * distance, first)
    while block < min(size, _CACHED_ROWS):
        block *= 2
    for run in range(start, start + size, block):
        _finish(tile, run, run + block, distance, first)


@native()
def _finish(tile, start, stop, distance, first):  # type: ignore[no-untyped-def]
    """Compares rows at distance, distance / 2, ..., first; sorts the first runs."""
    while distance >= 4 * first:
        _halve_thrice(tile, start, stop, distance)
        distance //= 8
    if distance >= 2 * first:
        q = distance // 2
        for run in range(start, stop, 2 * distance):
            for i in range(run, run + q):
                _halve_4((tile, i, i + q, i + 2 * q, i + 3 * q))
    elif distance >= first:
        for run in range(start, stop, 2 * distance):
            for i in range(run, run + distance):
                _halve_2((tile, i, i + distance))
    _sort_first(tile, start, stop, first)


@native()
def _halve_thrice(tile, start, stop, distance):  # type: ignore[no-untyped-def]
    """Compares rows at distance, half and a quarter of it, in one pass."""
    q = distance // 4
    for run in range(start, stop, 2 * distance):
        for i in range(run, run + q):
            rows = (i, i + q, i + 2 * q, i + 3 * q)
            _halve_8((tile, *rows, i + 4 * q, i + 5 * q, i + 6 * q, i + 7 * q))


@native()
def _sort_first(tile, start, stop, first):  # type: ignore[no-untyped-def]
    """Sorts each block of `first` rows."""
    if first == 4:
        for i in range(start, stop, 4):
            _sort_4((tile, i, i + 1, i + 2, i + 3))
    elif first == 5:
        for i in range(start, stop, 5):
            _sort_5((tile, i, i + 1, i + 2, i + 3, i + 4))
    elif first == 6:
        for i in range(start, stop, 6):
            _sort_6((tile, i, i + 1, i + 2, i + 3, i + 4, i + 5))
    else:
        for i in range(start, stop, 7):
            _sort_7((tile, i, i + 1, i + 2, i + 3, i + 4, i + 5, i + 6))
