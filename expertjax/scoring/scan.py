"""The scan of a sorted tile: sixteen units' thresholds side by side, for CPUs.

Rows are keys in ascending order, the label in the lowest bit. A threshold is a run of
equal responses, or of near-ties by the rule of `ties`.
"""

import functools
from typing import Any

import numba
import numpy as np

from expertjax.scoring.lanes import LANES, Rows, maximum, vectorized
from expertjax.scoring.native import native
from expertjax.scoring.summary import SIGN, STRIDE


def _run(end, num_pos, n, tp, tp_run, run):  # type: ignore[no-untyped-def]
    """What a run of equal responses, rows run to end, adds to the three sums.

    Works on numbers and on vectors alike. `tp` and `tp_run` are the positives below
    the run's end and start.
    """
    positives = tp - tp_run
    return (
        positives * (num_pos - tp_run) / (n - run),
        positives * tp / end,
        (end - run - positives) * (num_pos - tp + positives * 0.5),
    )


def _decode(key: Any, low: Rows) -> Any:
    """The responses of a row of keys, float32; see `summary.summarize`."""
    code = key >> 1
    magnitude = maximum(code, 0 - code) + low[0]
    magnitude = magnitude.where(code.differs(0), 0)
    return (magnitude | (code & int(SIGN))).as_float()


def _store_decoded(tile: Rows, low: Rows, x: Rows) -> None:
    """The lowest responses of a sorted tile into both rows of x."""
    x[0] = x[1] = _decode(tile[0], low)


def _scanner(count: int, kind: str) -> Any:
    """Scans `count` rows: "exact", "near" (chains are not cut) or "cut" ones."""

    def by_code(key: Any, state: list[Any]) -> Any:
        last = state[0]
        state[0] = key >> 1
        return state[0].differs(last)

    def by_gap(key: Any, state: list[Any], low: Rows, ties: Rows) -> Any:
        last, lowest, widest = state
        x = _decode(key, low)
        is_apart = (x - last) > ties[0]
        lowest = x.where(is_apart, lowest)
        state[:] = x, lowest, maximum(x - lowest, widest)
        return is_apart

    def by_cell(key: Any, state: list[Any], low: Rows, ties: Rows) -> Any:
        last, lowest, last_cell = state
        x = _decode(key, low)
        is_apart = (x - last) > ties[0]
        lowest = x.where(is_apart, lowest)
        cell = ((x - lowest) * ties[1]).to_int()
        state[:] = x, lowest, cell
        return is_apart | cell.differs(last_cell)

    def scan_rows(
        tile: Rows, start: Any, sizes: Rows, counts: Rows, sums: Rows, state: list[Any],
        is_new: Any,
    ) -> None:  # fmt: skip
        num_pos, n = sizes[0], sizes[1]
        tp, tp_run, run, row = counts[0], counts[1], counts[2], counts[3]
        totals = [sums[i] for i in range(3)]
        for r in range(count):
            key = tile.after(start, r)
            new = is_new(key, state)
            for i, more in enumerate(_run(row, num_pos, n, tp, tp_run, run)):
                totals[i] = totals[i] + more.where(new, 0.0).to_double()
            tp_run, run = tp.where(new, tp_run), row.where(new, run)
            row = row + 1.0
            tp = tp + (key & 1).to_float()
        counts[0], counts[1], counts[2], counts[3] = tp, tp_run, run, row
        for i, total in enumerate(totals):
            sums[i] = total

    @vectorized
    def scan_exactly(
        tile: Rows, start: Any, sizes: Rows, counts: Rows, sums: Rows, code: Rows
    ) -> None:
        state = [code[0]]
        scan_rows(tile, start, sizes, counts, sums, state, by_code)
        code[0] = state[0]

    @vectorized
    def scan_near(
        tile: Rows, start: Any, sizes: Rows, counts: Rows, sums: Rows, x: Rows,
        third: Rows, low: Rows, ties: Rows,
    ) -> None:  # fmt: skip
        state = [x[0], x[1], third[0]]
        rule = by_gap if kind == "near" else by_cell
        is_new = functools.partial(rule, low=low, ties=ties)
        scan_rows(tile, start, sizes, counts, sums, state, is_new)
        x[0], x[1], third[0] = state

    return scan_exactly if kind == "exact" else scan_near


_scan_stride, _scan_one = _scanner(STRIDE, "exact"), _scanner(1, "exact")
_scan_stride_near, _scan_one_near = _scanner(STRIDE, "near"), _scanner(1, "near")
_scan_one_cut = _scanner(1, "cut")  # rare: not worth compiling strides
_decode_row = vectorized(_store_decoded)
_run_of_numbers = numba.njit(_run)


@native(nogil=True)
def scan(tile, n, num_pos, marks):  # type: ignore[no-untyped-def]
    """Sums of precisions over positives, and of pairs won, in ascending order.

    Where a new threshold begins, the one before has ended: its positives count with
    the precision from there upwards (AP) and from the bottom up to there (AP of the
    negated response), its negatives with the positives above them, those of the
    threshold a half (AUROC). `marks` gets the positives before every STRIDE-th row.

    Returns:
      [3, LANES] float64.
    """
    sizes, counts, sums = _new_sums(n, num_pos)
    code = (tile[0] >> 1).astype(np.int32).reshape(1, LANES)
    whole = n // STRIDE * STRIDE
    for i in range(0, whole, STRIDE):
        marks[i // STRIDE] = counts[0]
        _scan_stride((tile, i, sizes, counts, sums, code))
    marks[whole // STRIDE] = counts[0]
    for i in range(whole, n):
        _scan_one((tile, i, sizes, counts, sums, code))
    return _finish(n, num_pos, counts, sums, marks)


@native(nogil=True)
def scan_near(tile, n, num_pos, marks, low, ties):  # type: ignore[no-untyped-def]
    """The same where near-ties are ties: [2, LANES] gaps and rates.

    Few chains are too wide. Cutting them costs, so it is done where one was found.
    """
    sizes, counts, sums = _new_sums(n, num_pos)
    x = np.empty((2, LANES), np.float32)  # the last response, its chain's lowest
    _decode_row((tile, low, x))
    widest = np.zeros((1, LANES), np.float32)
    whole = n // STRIDE * STRIDE
    for i in range(0, whole, STRIDE):
        marks[i // STRIDE] = counts[0]
        _scan_stride_near((tile, i, sizes, counts, sums, x, widest, low, ties))
    marks[whole // STRIDE] = counts[0]
    for i in range(whole, n):
        _scan_one_near((tile, i, sizes, counts, sums, x, widest, low, ties))
    if (widest[0] * ties[1] >= 1).any():
        counts, sums = _scan_cut(tile, n, num_pos, low, ties)
    return _finish(n, num_pos, counts, sums, marks)


@native(nogil=True)
def _scan_cut(tile, n, num_pos, low, ties):  # type: ignore[no-untyped-def]
    """Counts and sums where chains are cut; positives are where they were."""
    sizes, counts, sums = _new_sums(n, num_pos)
    x = np.empty((2, LANES), np.float32)
    _decode_row((tile, low, x))
    cell = np.zeros((1, LANES), np.int32)
    for i in range(n):
        _scan_one_cut((tile, i, sizes, counts, sums, x, cell, low, ties))
    return counts, sums


@native(nogil=True)
def _new_sums(n, num_pos):  # type: ignore[no-untyped-def]
    """Sizes; counts (positives, those below the threshold, its row, row); sums."""
    sizes = np.empty((2, LANES), np.float32)
    sizes[0], sizes[1] = num_pos, n
    return sizes, np.zeros((4, LANES), np.float32), np.zeros((3, LANES), np.float64)


@native(nogil=True)
def _finish(n, num_pos, counts, sums, marks):  # type: ignore[no-untyped-def]
    """The sums with those of the last threshold."""
    marks[-(-n // STRIDE)] = counts[0]
    for lane in range(LANES):
        last = _run_of_numbers(
            n, num_pos, n, counts[0, lane], counts[1, lane], counts[2, lane]
        )
        for i in range(3):
            sums[i, lane] += last[i]
    return sums
