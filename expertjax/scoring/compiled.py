"""The same metrics as `metrics`, compiled for CPUs: sixteen units side by side.

Each response becomes an integer whose order is that of the floats, with the label in
its lowest bit; a sorting network orders the sentences of sixteen units at once; one
scan, in which tied responses are one threshold, sums up what the metrics need.
Counts are exact, sums are float64, and no unit's numbers depend on another's.
"""

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from expertjax.concepts.pool import Membership
from expertjax.scoring.lanes import (
    LANES,
    Rows,
    maximum,
    minimum,
    prefetch,
    vectorized,
)
from expertjax.scoring.native import native
from expertjax.scoring.network import sort_tile, tile_rows
from expertjax.scoring.scan import scan, scan_near
from expertjax.scoring.summary import MAGNITUDE, METRICS, STRIDE, summarize
from expertjax.scoring.ties import gap_and_rate

_LARGEST_CODE = 2**30 - 2
_FILLER = np.int32(2**31 - 1)  # the key above all others
_SLAB = 512  # rows that are brought into tiles at a time
_CONCEPTS = 32  # that are scored at a time; small parts keep all cores busy
_AHEAD = 8  # rows that are asked for before they are read


class CompiledScorer:
    """Scores blocks of units for the same concepts, on all cores."""

    def __init__(self, members: Sequence[Membership], tolerance: float = 0.0) -> None:
        """Numbers the sentences anew, those of a concept side by side in memory.

        Args:
          members: [C] labelled rows.
          tolerance: of ties, see `ties`.
        """
        self._tolerance = float(tolerance)
        halves = [
            member.sentence[member.label == label]
            for member in members
            for label in (1, 0)
        ]
        rows = np.concatenate(halves)
        used, first_use, place = np.unique(rows, return_index=True, return_inverse=True)
        by_use = np.argsort(first_use)
        number = np.empty(len(used), np.int64)
        number[by_use] = np.arange(len(used))
        self._order = used[by_use].astype(np.int64)
        self._rows = number[place]
        self._bounds = np.cumsum([0, *map(len, halves)])
        for start, stop in zip(self._bounds[:-1], self._bounds[1:], strict=True):
            self._rows[start:stop].sort()
        self._num_concepts = len(members)
        self._tiles = np.empty((0, 0, 0), np.float32)

    def __call__(self, x_NxU: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All metrics of all units.

        Args:
          x_NxU: float32 responses, finite.

        Returns:
          [metrics, C, U] float32 in the order of `METRICS`, and [U] bool: units
          that this cannot do, because their largest response is over 2^127 times
          their smallest (zero left out); their numbers are not to be used.
        """
        x_NxU = np.ascontiguousarray(x_NxU, np.float32)
        num_units = x_NxU.shape[1]
        groups = -(-num_units // LANES)
        # Kept from block to block: fresh memory costs as much as filling it.
        if len(self._tiles) < groups:
            self._tiles = np.empty((groups, len(self._order), LANES), np.float32)
        tiles = self._tiles[:groups]
        bits = tiles.view(np.int32)
        slabs = range(0, len(self._order), _SLAB)
        low = np.empty((len(slabs), groups, 1, LANES), np.int32)
        high = np.empty_like(low)
        out = np.empty((groups, self._num_concepts, LANES, len(METRICS)), np.float32)

        def fill(start: int) -> None:
            rows, slab = self._order[start : start + _SLAB], start // _SLAB
            _fill_tiles(x_NxU, rows, start, tiles, bits, low[slab], high[slab])

        def score(part: tuple[int, int]) -> None:
            g, c = part
            bounds = self._bounds[2 * c : 2 * (c + _CONCEPTS) + 1]
            concepts = out[g, c : c + _CONCEPTS]
            _score_tile(
                tiles[g], bits[g], self._rows, bounds, lowest[g], self._tolerance,
                concepts,
            )  # fmt: skip

        with ThreadPoolExecutor(_num_threads()) as pool:
            list(pool.map(fill, slabs))
            # The smallest magnitude becomes code 1, and 0 stays 0.
            lowest = low.min(0) - np.int32(1)
            concepts = range(0, self._num_concepts, _CONCEPTS)
            list(pool.map(score, itertools.product(range(groups), concepts)))
        is_wide = high.max(0) - lowest > _LARGEST_CODE
        units = out.transpose(3, 1, 0, 2).reshape(len(METRICS), self._num_concepts, -1)
        return units[:, :, :num_units], is_wide.reshape(-1)[:num_units]


def _num_threads() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this platform
        return os.cpu_count() or 1


@vectorized
def _extend_range(bits: Rows, row: Any, low: Rows, high: Rows) -> None:
    magnitude = bits[row] & int(MAGNITUDE)
    high[0] = maximum(high[0], magnitude)
    low[0] = minimum(low[0], magnitude.where(magnitude > 0, int(MAGNITUDE)))


@native(nogil=True)
def _fill_tiles(x_NxU, rows, start, tiles, bits, low, high):  # type: ignore[no-untyped-def]
    """Some rows of the responses into [groups, N, LANES], beginning at `start`.

    `low` and `high`, [groups, 1, LANES], get the range of magnitudes, zero left out.
    Lanes beyond U are filled with zeros.
    """
    num_units = x_NxU.shape[1]
    low[:], high[:] = MAGNITUDE, 0
    for i in range(len(rows)):
        if i + _AHEAD < len(rows):
            prefetch(x_NxU, rows[i + _AHEAD])
        row = x_NxU[rows[i]]
        for g in range(num_units // LANES):
            for lane in range(LANES):
                tiles[g, start + i, lane] = row[g * LANES + lane]
        if num_units % LANES:
            tiles[-1, start + i] = 0
            for lane in range(num_units % LANES):
                tiles[-1, start + i, lane] = row[num_units // LANES * LANES + lane]
    for g in range(len(tiles)):
        for i in range(start, start + len(rows)):
            _extend_range((bits[g], i, low[g], high[g]))


@native(nogil=True)
def _score_tile(x, bits, rows, bounds, low, tolerance, out):  # type: ignore[no-untyped-def]
    """All concepts of sixteen units.

    Args:
      x: [N, LANES] float32.
      bits: the same memory as int32.
      rows: labelled rows, of each concept first the positives, then the negatives.
      bounds: [2 C + 1] where these begin and end.
      low: [1, LANES] int32, subtracted from magnitudes.
      tolerance: of ties.
      out: [C, LANES, metrics] float32.
    """
    num_concepts = (len(bounds) - 1) // 2
    longest = 0
    for c in range(num_concepts):
        longest = max(longest, bounds[2 * c + 2] - bounds[2 * c])
    tile = np.empty((tile_rows(longest)[0], LANES), np.int32)
    marks = np.empty((longest // STRIDE + 2, LANES), np.float32)
    ties = np.zeros((2, LANES), np.float32)
    for c in range(num_concepts):
        start, middle, stop = bounds[2 * c], bounds[2 * c + 1], bounds[2 * c + 2]
        n, num_pos = stop - start, middle - start
        # Near the mean, so that the squares stay small.
        shift = x[rows[start]].astype(np.float64).reshape(1, LANES)
        of_pos = _encode_all(x, bits, rows[start:middle], low, shift, tile, 1)
        of_neg = _encode_all(x, bits, rows[middle:stop], low, shift, tile[num_pos:], 0)
        height, first = tile_rows(n)
        tile[n:height] = _FILLER
        sort_tile(tile, height, first)
        if tolerance > 0:
            _set_ties(ties, n, shift, of_pos, of_neg, tolerance)
            precisions = scan_near(tile, n, num_pos, marks, low, ties)
        else:
            precisions = scan(tile, n, num_pos, marks)
        for lane in range(LANES):
            sums = (
                of_pos[0, lane], of_neg[0, lane], of_pos[1, lane], of_neg[1, lane],
                shift[0, lane],
            )  # fmt: skip
            summarize(
                tile[:, lane], marks[:, lane], n, num_pos, low[0, lane],
                precisions[:, lane], sums, ties[:, lane], out[c, lane],
            )  # fmt: skip


@native(nogil=True)
def _set_ties(ties, n, shift, of_pos, of_neg, tolerance):  # type: ignore[no-untyped-def]
    """The gap and the rate of each lane (see `ties.gap_and_rate`), from its sums."""
    for lane in range(LANES):
        mean = (of_pos[0, lane] + of_neg[0, lane]) / n
        square = (of_pos[1, lane] + of_neg[1, lane]) / n
        std = np.sqrt(max(square - mean**2, 0.0))
        ties[0, lane], ties[1, lane] = gap_and_rate(
            shift[0, lane] + mean, std, tolerance
        )


def _encoder(label: int) -> Any:
    @vectorized
    def encode(
        x: Rows, bits: Rows, row: Any, low: Rows, shift: Rows, tile: Rows, i: Any,
        sums: Rows,
    ) -> None:  # fmt: skip
        b = bits[row]
        code = maximum((b & int(MAGNITUDE)) - low[0], 0)
        tile[i] = ((0 - code).where(b < 0, code) << 1) | label
        deviation = x[row].to_double() - shift[0]
        sums[0] = sums[0] + deviation
        sums[1] = sums[1] + deviation * deviation

    return encode


_encode_negative, _encode_positive = _encoder(0), _encoder(1)


@native(nogil=True)
def _encode_all(x, bits, rows, low, shift, tile, label):  # type: ignore[no-untyped-def]
    """Keys of one class into the tile; returns the sums of values and squares."""
    sums = np.zeros((2, LANES), np.float64)
    if label:
        for i in range(len(rows)):
            _encode_positive((x, bits, rows[i], low, shift, tile, i, sums))
    else:
        for i in range(len(rows)):
            _encode_negative((x, bits, rows[i], low, shift, tile, i, sums))
    return sums
