"""From one unit's sorted sentences and their sums to its metrics, compiled."""

import numpy as np

from expertjax.scoring.native import native

# The order of `summarize`; formulas as in `metrics`.
METRICS = (
    "ap", "ap_neg", "auroc", "on_p50", "on_p90", "off_mean", "off_p50", "on_mean",
    "on_std", "off_std", "accuracy",
)  # fmt: skip
STRIDE = 8  # rows between two marks
MAGNITUDE = np.int32(0x7FFFFFFF)  # all bits of a float but the sign
SIGN = np.int32(-(2**31))


@native()
def summarize(keys, marks, n, num_pos, low, precisions, sums, ties, out):  # type: ignore[no-untyped-def]
    """Writes all metrics of one unit and concept.

    Args:
      keys: [n] int32, ascending: the response's code, then the label in the lowest
        bit. A code is 0 for 0, else the magnitude's bits minus `low`, with the sign.
      marks: [n / STRIDE] float32: positives before every STRIDE-th key.
      n, num_pos: sentences, and the positives among them.
      low: int32, see above.
      precisions: [3] sums over positives of precision, and of that of the negated
        response; pairs won.
      sums: [5] float64: of positives, of negatives, of the squares of either, after
        subtracting the last of the five from each response.
      ties: [2] float32: gap and rate of near-ties (see `ties.gap_and_rate`); 0 where
        only equal responses are tied.
      out: [metrics] float32.
    """
    num_neg = n - num_pos
    of_pos, of_neg, shift = sums[0], sums[1], sums[4]
    mean_pos, mean_neg = of_pos / num_pos, of_neg / num_neg
    out[0] = precisions[0] / num_pos
    out[1] = precisions[1] / num_pos
    out[2] = precisions[2] / (np.float64(num_pos) * num_neg)
    out[3] = _percentile(keys, marks, n, num_pos, 1, 50, low)
    out[4] = _percentile(keys, marks, n, num_pos, 1, 90, low)
    out[5] = shift + mean_neg
    out[6] = _percentile(keys, marks, n, num_neg, 0, 50, low)
    out[7] = shift + mean_pos
    out[8] = np.sqrt(max(sums[2] / num_pos - mean_pos**2, 0.0))
    out[9] = np.sqrt(max(sums[3] / num_neg - mean_neg**2, 0.0))
    threshold = np.float32(shift + (of_pos + of_neg) / n)
    out[10] = _accuracy(keys, marks, n, num_pos, threshold, low, ties)


@native()
def _percentile(keys, marks, n, count, label, q, low):  # type: ignore[no-untyped-def]
    """Percentile of one class, interpolated linearly."""
    place = (count - 1) * (q / 100)
    rank = int(np.floor(place))
    below = _decode(keys[_find(keys, marks, n, label, rank)], low)
    if rank + 1 == count:
        return below
    above = _decode(keys[_find(keys, marks, n, label, rank + 1)], low)
    return below + (above - below) * (place - rank)


@native()
def _find(keys, marks, n, label, rank):  # type: ignore[no-untyped-def]
    """The place of the rank-th sentence (from 0) of a class."""
    first, last = 0, -(-n // STRIDE)
    while last - first > 1:
        middle = (first + last) // 2
        before = marks[middle] if label else middle * STRIDE - marks[middle]
        if before <= rank:
            first = middle
        else:
            last = middle
    place = first * STRIDE
    left = rank - int(marks[first] if label else place - marks[first])
    while left > 0 or keys[place] & 1 != label:
        left -= keys[place] & 1 == label
        place += 1
    return place


@native()
def _accuracy(keys, marks, n, num_pos, threshold, low, ties):  # type: ignore[no-untyped-def]
    """Share of positives above, and negatives not above, a number (float32)."""
    code = _encode(threshold, low)
    first, last = 0, n
    while first < last:
        middle = (first + last) // 2
        if keys[middle] >> 1 > code:
            last = middle
        else:
            first = middle + 1
    if ties[0] > 0:
        first = _end_of_tie(keys, n, first, low, ties)
    tp = int(marks[first // STRIDE])
    for i in range(first // STRIDE * STRIDE, first):
        tp += keys[i] & 1
    return (num_pos - tp + first - tp) / n


@native()
def _end_of_tie(keys, n, place, low, ties):  # type: ignore[no-untyped-def]
    """The first place from `place` on that is not tied with the one before it."""
    if place == 0:
        return 0
    gap, rate = ties
    start = place - 1
    last = lowest = np.float32(_decode(keys[start], low))
    while start > 0:
        before = np.float32(_decode(keys[start - 1], low))
        if lowest - before > gap:
            break
        lowest, start = before, start - 1
    cell = int((last - lowest) * rate)
    while place < n:
        x = np.float32(_decode(keys[place], low))
        if x - last > gap or int((x - lowest) * rate) != cell:
            break
        last, place = x, place + 1
    return place


@native()
def _encode(threshold, low):  # type: ignore[no-untyped-def]
    """The highest code of a response that is not above the threshold."""
    bits = np.array([threshold], np.float32).view(np.int32)[0]
    magnitude = bits & MAGNITUDE
    code = max(magnitude - low, 0)
    if bits < 0 and magnitude > 0:
        return -max(code, 1)
    return code


@native()
def _decode(key, low):  # type: ignore[no-untyped-def]
    """The response of a key, float64."""
    code = key >> 1
    if code == 0:
        return 0.0
    bits = np.array([abs(code) + low], np.int32)
    x = np.float64(bits.view(np.float32)[0])
    return -x if code < 0 else x
