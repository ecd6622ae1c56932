"""The same metrics as `kernel`, as a compiled loop for CPUs.

XLA's sort on CPUs costs some 200 ns an element. Here the responses of a unit
become 32-bit keys whose integer order is their order as floats; positives and
negatives are sorted apart by radix (three passes of 11 bits) and merged in one
scan, in which equal keys are one threshold.
"""

from collections.abc import Sequence

import numba
import numpy as np

from expertjax.concepts.pool import Membership
from expertjax.scoring.kernel import METRICS

_BITS = 11
_BINS = 1 << _BITS


def score_block(
    responses_NxU: np.ndarray, members: Sequence[Membership]
) -> dict[str, np.ndarray]:
    """All metrics of all units for all concepts, on all cores.

    Args:
      responses_NxU: float32, finite.
      members: [C] labelled rows.

    Returns:
      metric -> [C, U] float32, the metrics of `kernel.score_units`.
    """
    rows, bounds = [], [0]
    for member in members:
        for label in (1, 0):
            part = member.sentence[member.label == label]
            rows.append(part)
            bounds.append(bounds[-1] + len(part))
    # One unit's responses side by side, and one zero for both signs.
    x_UxN = np.ascontiguousarray(responses_NxU.T, np.float32) + np.float32(0)
    num_units = len(x_UxN)
    out = np.empty((num_units, len(members), len(METRICS)), np.float32)
    _score_units(
        x_UxN.view(np.uint32),
        x_UxN,
        np.concatenate(rows).astype(np.int64),
        np.array(bounds, np.int64),
        out,
    )
    return {
        name: np.ascontiguousarray(out[:, :, i].T) for i, name in enumerate(METRICS)
    }


@numba.njit(parallel=True, cache=True)
def _score_units(bits, values, rows, bounds, out):  # type: ignore[no-untyped-def]
    num_concepts = (len(bounds) - 1) // 2
    longest = 0
    for i in range(len(bounds) - 1):
        longest = max(longest, bounds[i + 1] - bounds[i])
    for u in numba.prange(len(bits)):
        pos = np.empty(longest, np.uint32)
        neg = np.empty(longest, np.uint32)
        spare = np.empty(longest, np.uint32)
        counts = np.empty((3, _BINS), np.int64)
        for c in range(num_concepts):
            start, middle, stop = bounds[2 * c], bounds[2 * c + 1], bounds[2 * c + 2]
            num_pos, num_neg = middle - start, stop - middle
            _gather_sorted(bits[u], rows[start:middle], pos, spare, counts)
            _gather_sorted(bits[u], rows[middle:stop], neg, spare, counts)
            ap, auroc = _merge(pos, num_pos, neg, num_neg)
            total = 0.0
            for i in range(middle, stop):
                total += values[u, rows[i]]
            out[u, c, 0] = ap
            out[u, c, 1] = auroc
            out[u, c, 2] = _percentile(pos, num_pos, 50)
            out[u, c, 3] = _percentile(pos, num_pos, 90)
            out[u, c, 4] = total / num_neg
            out[u, c, 5] = _percentile(neg, num_neg, 50)


@numba.njit(cache=True)
def _gather_sorted(bits, rows, keys, spare, counts):  # type: ignore[no-untyped-def]
    """Puts the keys of some rows in ascending order into `keys`."""
    counts[:] = 0
    n = len(rows)
    for i in range(n):
        b = bits[rows[i]]
        # Negative floats count downwards: turn all bits; others: only the sign.
        key = ~b if b >> 31 else b | np.uint32(0x80000000)
        key = np.uint32(key)
        keys[i] = key
        counts[0, key & (_BINS - 1)] += 1
        counts[1, (key >> _BITS) & (_BINS - 1)] += 1
        counts[2, key >> (2 * _BITS)] += 1
    source, target = keys, spare
    for digit in range(3):
        shift = np.uint32(digit * _BITS)
        if counts[digit, (source[0] >> shift) & np.uint32(_BINS - 1)] == n:
            continue  # all keys share this digit
        place = 0
        for k in range(_BINS):
            count = counts[digit, k]
            counts[digit, k] = place
            place += count
        for i in range(n):
            key = source[i]
            k = (key >> shift) & np.uint32(_BINS - 1)
            target[counts[digit, k]] = key
            counts[digit, k] += 1
        source, target = target, source
    if source is not keys:
        keys[:n] = source[:n]


@numba.njit(cache=True)
def _merge(pos, num_pos, neg, num_neg):  # type: ignore[no-untyped-def]
    """AP and AUROC of two ascending runs of keys."""
    i, j = num_pos - 1, num_neg - 1
    ap = wins = 0.0
    while i >= 0:
        key = pos[i]
        while j >= 0 and neg[j] > key:
            j -= 1
        above = num_neg - 1 - j  # negatives that beat this key
        k = j
        while k >= 0 and neg[k] == key:
            k -= 1
        first = i
        while i >= 0 and pos[i] == key:
            i -= 1
        ties_pos, ties_neg = first - i, j - k
        true = num_pos - 1 - i
        ap += ties_pos * (true / (true + above + ties_neg))
        wins += ties_pos * (k + 1 + 0.5 * ties_neg)
        j = k if ties_neg else j
    return ap / num_pos, wins / (np.float64(num_pos) * num_neg)


@numba.njit(cache=True)
def _percentile(keys, n, q):  # type: ignore[no-untyped-def]
    place = (n - 1) * (q / 100)
    low = int(np.floor(place))
    below = _value(keys[low])
    above = _value(keys[min(low + 1, n - 1)])
    return below + (above - below) * (place - low)


@numba.njit(cache=True)
def _value(key):  # type: ignore[no-untyped-def]
    """The float that a key stands for."""
    bits = key & np.uint32(0x7FFFFFFF) if key >> 31 else ~key
    buffer = np.empty(1, np.uint32)
    buffer[0] = bits
    return np.float64(buffer.view(np.float32)[0])
