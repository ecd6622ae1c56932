"""Which responses are one threshold: near-ties are ties.

Responses that are equal in exact arithmetic (equal prefixes, equal tokens) differ in
their last bits by device, batch shape and compiler. Told apart, they become several
thresholds in an order that rounding decides, and the AP of a unit moves by up to 0.1
from device to device. So responses that lie closer together than rounding explains
count as tied, as scikit-learn counts those that are equal to the bit.

The rule, for a unit and a concept's labelled sentences in ascending order: a sentence
joins the threshold of the one before unless it lies more than a gap above it. The gap
is `tolerance` times the standard deviation of these responses; the deviation is taken
as no less than 1/32 of their mean's magnitude, since rounding is relative to that: of
a unit that hardly moves, 2^-20 of its value at the default tolerance, 8 units in the
last place. Where responses are so many that neighbours lie closer than the gap by
themselves, such a chain is cut at multiples of four gaps from its lowest response, so
that no threshold is wider. Tolerance 0 is scikit-learn's rule on the very bits.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from expertjax.scoring.native import native
from expertjax.typing import Array

WIDTH = 4  # of a threshold at most, in gaps
LEAST_DEVIATION = 1 / 32  # of the mean's magnitude
_LEAST_WIDTH = 1e-36  # below, a chain is not cut: its inverse has to be finite


@native()
def gap_and_rate(mean, std, tolerance):  # type: ignore[no-untyped-def]
    """The gap, and the inverse of a threshold's largest width; float32 numbers.

    Args:
      mean: of the responses, float64.
      std: their standard deviation over n, likewise.
      tolerance: over 0.
    """
    gap = tolerance * max(std, abs(mean) * LEAST_DEVIATION)
    width = WIDTH * gap
    rate = 1 / width if width > _LEAST_WIDTH else 0.0
    return np.float32(gap), np.float32(rate)


@native()
def is_first_of_sorted(x, tolerance):  # type: ignore[no-untyped-def]
    """[n] bool: where a threshold begins among ascending float32 responses."""
    first = np.ones(len(x), np.bool_)
    if tolerance == 0:
        first[1:] = x[1:] != x[:-1]
        return first
    mean = 0.0
    for value in x:
        mean += np.float64(value) / len(x)
    square = 0.0
    for value in x:
        square += (np.float64(value) - mean) ** 2 / len(x)
    gap, rate = gap_and_rate(mean, np.sqrt(square), tolerance)
    lowest, cell = x[0], 0
    for i in range(1, len(x)):
        is_apart = x[i] - x[i - 1] > gap
        if is_apart:
            lowest = x[i]
        here = int((x[i] - lowest) * rate)
        first[i] = is_apart or here != cell
        cell = here
    return first


def is_first(x_Uxn: Array, mean_U: Array, std_U: Array, tolerance: float) -> Array:
    """[U, n] bool: the same in JAX, for many units.

    Args:
      x_Uxn: float32, ascending along each row; filler in front of nothing.
      mean_U: of the responses that are none.
      std_U: likewise, over n.
      tolerance: over 0.
    """
    gap_U = tolerance * jnp.maximum(std_U, jnp.abs(mean_U) * LEAST_DEVIATION)
    width_U = WIDTH * gap_U
    rate_U = jnp.where(width_U > _LEAST_WIDTH, 1 / width_U, 0.0)
    is_apart = _differs(x_Uxn, lambda x, before: x - before > gap_U[:, None])
    lowest = jax.lax.cummax(jnp.where(is_apart, x_Uxn, -jnp.inf), axis=1)
    cell = ((x_Uxn - lowest) * rate_U[:, None]).astype(jnp.int32)
    return is_apart | _differs(cell, jnp.not_equal)


def is_first_exactly(key_Uxn: Array) -> Array:
    """[U, n] bool: where a key is not that of the one before it."""
    return _differs(key_Uxn, jnp.not_equal)


def _differs(rows_Uxn: Array, compare: Any) -> Array:
    ends = compare(rows_Uxn[:, 1:], rows_Uxn[:, :-1])
    return jnp.pad(ends, ((0, 0), (1, 0)), constant_values=True)
