"""What AP luck reaches: the law of AP when the labels of a concept are shuffled.

Without ties the AP of a shuffled concept depends on (n_pos, n_neg) alone. Going down
the ranking, each next sentence is positive with the share of positives among those
left, and then adds its precision / n_pos to the AP: a walk over the grid of counts,
along which the moment generating function E[exp(theta AP)] follows exactly by dynamic
programming. The saddlepoint approximation of Lugannani and Rice (1980, *Advances in
Applied Probability* 12) makes tail probabilities of it, good to some percent also
where no shuffling would ever get: the best of 100,000 units is one of them.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from scipy.special import gammaln, log_ndtr, ndtri_exp

from expertjax.scoring.native import native

FAMILY_WISE = 0.05  # the probability that any unit reaches the threshold by luck
# Tilts in standard deviations of AP; none is zero, where the formula is 0 / 0.
_TILTS = np.arange(-4.25, 8.5, 0.5)
_MOST_STATES = 4_000_000
_MOST_CHOICES = 20_000  # of positives, for the law to be counted rather
_FEW = 25  # positives, for the law to be walked through on a grid
# Tail probabilities of the table: dense in the middle, half decades beyond.
_TAILS = np.concatenate(
    [
        [0.9999, 0.999, 0.99],
        np.arange(19, 0, -1) / 20,
        10.0 ** -np.arange(1.5, 9.5, 0.5),
    ]
)


def null_table(shapes: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """The law of AP under shuffled labels.

    Args:
      shapes: (n_pos, n_neg) of concepts.

    Returns:
      n_pos, n_neg, tail, ap: the AP that a unit reaches with the probability `tail`;
      a row for each distinct shape and each tail that can be reached, tails falling.
    """
    distinct = sorted(set(shapes))
    parts = []
    for (n_pos, n_neg), ap in zip(distinct, _quantiles(distinct, _TAILS), strict=True):
        table = pd.DataFrame({"n_pos": n_pos, "n_neg": n_neg, "tail": _TAILS, "ap": ap})
        parts.append(table[np.isfinite(ap)])
    return pd.concat(parts, ignore_index=True)


def thresholds(
    shapes: Sequence[tuple[int, int]], num_units: int, level: float = FAMILY_WISE
) -> np.ndarray:
    """The AP that any of some units reaches by luck with at most this probability.

    Bonferroni's bound, which holds however units depend on each other.

    Args:
      shapes: [C] (n_pos, n_neg) of concepts.
      num_units: scored for each of them.
      level: the family-wise probability.

    Returns:
      [C] float64; inf where a concept has too few sentences for any AP to be so
      improbable.
    """
    distinct = sorted(set(shapes))
    found = _quantiles(distinct, np.array([level / num_units]))
    of_shape = dict(zip(distinct, found, strict=True))
    return np.array([of_shape[shape][0] for shape in shapes])


def _quantiles(
    shapes: Sequence[tuple[int, int]], tails: np.ndarray
) -> list[np.ndarray]:
    """For each shape the least AP reached with at most given probabilities.

    inf where no AP is so improbable.
    """

    def of_shape(shape: tuple[int, int]) -> np.ndarray:
        if math.comb(sum(shape), shape[0]) <= _MOST_CHOICES:
            return _least(*_all_choices(*shape), tails)
        if shape[0] < _FEW:
            return _least(*_on_a_grid(*shape), tails)
        score, ap = _saddlepoints(*shape)
        found = np.clip(_interpolate(-ndtri_exp(np.log(tails)), score, ap), 0, 1)
        # The least probable AP is 1: all positives on top, one of so many choices.
        least = -_log_choices(*shape)
        return np.where(np.log(tails) < least, np.inf, found)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(of_shape, shapes))


def _log_choices(n_pos: int, n_neg: int) -> float:
    return gammaln(n_pos + n_neg + 1) - gammaln(n_pos + 1) - gammaln(n_neg + 1)


def _all_choices(n_pos: int, n_neg: int) -> tuple[np.ndarray, np.ndarray]:
    """The law by counting: APs, rising, and the probability of each."""
    ranks = itertools.combinations(range(1, n_pos + n_neg + 1), n_pos)
    ap = (np.arange(1, n_pos + 1) / np.array(list(ranks))).mean(1).round(12)
    values, counts = np.unique(ap, return_counts=True)
    return values, counts / len(ap)


def _on_a_grid(n_pos: int, n_neg: int) -> tuple[np.ndarray, np.ndarray]:
    """The law of few positives, whose AP goes in steps too uneven for saddlepoints."""
    steps = max(200, min(2000, 2_000_000 // n_neg))
    mass = _walk(n_pos, n_neg, steps)
    return np.minimum(np.arange(len(mass)) / steps, 1), mass


def _least(ap: np.ndarray, mass: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """The least AP that is reached with at most given probabilities; inf if none."""
    reached = mass[::-1].cumsum()[::-1]
    place = np.searchsorted(-reached, -tails * (1 + 1e-9))
    # Beyond the highest possible AP there is nothing.
    return np.append(ap, np.inf)[np.where(place > np.flatnonzero(mass)[-1], -1, place)]


@native(nogil=True)
def _walk(n_pos, n_neg, steps):  # type: ignore[no-untyped-def]
    """[steps + n_pos + 1] probabilities of n_pos precisions, in steps, summed up."""
    width = steps + n_pos + 1
    here = np.zeros((n_neg + 1, width))
    here[0, 0] = 1
    for t in range(n_pos):
        after = np.zeros((n_neg + 1, width))
        for f in range(n_neg + 1):
            p = (n_pos - t) / (n_pos + n_neg - t - f)
            gain = (t + 1) / (t + 1 + f) / n_pos * steps
            low = int(gain)
            # Between two steps in parts that keep the mean.
            high = p * (gain - low)
            after[f, low:] += (p - high) * here[f, : width - low]
            after[f, low + 1 :] += high * here[f, : width - low - 1]
            if f < n_neg:
                here[f + 1] += (1 - p) * here[f]
        here = after
    return here.sum(0)


@functools.lru_cache(maxsize=4096)
def _saddlepoints(n_pos: int, n_neg: int) -> tuple[np.ndarray, np.ndarray]:
    """The law at some points: normal scores of tail probabilities, rising, and AP."""
    # The law of fewer sentences is wider, so that thresholds err to the safe side.
    shrink = max(1.0, math.sqrt(n_pos * n_neg / _MOST_STATES))
    n_pos, n_neg = math.ceil(n_pos / shrink), math.ceil(n_neg / shrink)
    variance = _cumulants(n_pos, n_neg, 0.0, 0.0, 1)[2, 0]
    theta = _TILTS / math.sqrt(variance)
    log_mgf, mean, variance = _cumulants(
        n_pos, n_neg, theta[0], theta[1] - theta[0], len(theta)
    )
    w = np.sign(theta) * np.sqrt(2 * np.maximum(theta * mean - log_mgf, 1e-300))
    u = theta * np.sqrt(np.maximum(variance, 1e-300))
    density = np.exp(-(w**2) / 2) / math.sqrt(2 * math.pi)
    with np.errstate(invalid="ignore", divide="ignore"):
        tail = np.exp(log_ndtr(-w)) + density * (1 / u - 1 / w)
        score = -ndtri_exp(np.log(tail))
    # Near AP 1 the variance ends, and with it the approximation.
    holds = np.isfinite(score) & (u / w > 0.05)
    holds[1:] &= (np.diff(score) > 0) & (np.diff(mean) > 0)
    end = len(holds) if holds.all() else int(np.argmin(holds))
    chance = n_pos / (n_pos + n_neg)
    return score[:end], mean[:end] + chance


def _interpolate(x: np.ndarray, xp: np.ndarray, yp: np.ndarray) -> np.ndarray:
    """The cubic through the four nearest points, of a smooth curve."""
    first = np.clip(np.searchsorted(xp, x) - 2, 0, len(xp) - 4)
    total = np.zeros(len(x))
    for i in range(4):
        basis = np.ones(len(x))
        for j in range(4):
            if j != i:
                at = xp[first + j]
                basis *= (x - at) / (xp[first + i] - at)
        total += basis * yp[first + i]
    return total


@native(nogil=True)
def _cumulants(n_pos, n_neg, first, step, count):  # type: ignore[no-untyped-def]
    """Cumulant generating function of AP - chance and two derivatives.

    Args:
      n_pos, n_neg: sentences.
      first, step, count: of theta, an arithmetic progression [count].

    Returns:
      [3, count]: log E exp(theta x), its first and its second derivative.
    """
    n = n_pos + n_neg
    chance = n_pos / n
    # Of the walk from (t positives, f negatives) to its end: E e^(theta x) and its
    # two derivatives. A row per f; t counts down, and each t overwrites t + 1.
    m0 = np.ones((n_neg + 1, count))
    m1 = np.zeros((n_neg + 1, count))
    m2 = np.zeros((n_neg + 1, count))
    tilt = np.empty(count)
    for t in range(n_pos - 1, -1, -1):
        for f in range(n_neg, -1, -1):
            left = n - t - f
            p = (n_pos - t) / left
            q = (n_neg - f) / left
            gain = ((t + 1) / (t + 1 + f) - chance) / n_pos
            tilt[0] = p * math.exp(first * gain)
            ratio = math.exp(step * gain)
            for k in range(1, count):
                tilt[k] = tilt[k - 1] * ratio
            below = min(f + 1, n_neg)  # q is zero where there is none
            for k in range(count):
                a = tilt[k]
                m2[f, k] = (
                    a * (m2[f, k] + 2 * gain * m1[f, k] + gain * gain * m0[f, k])
                    + q * m2[below, k]
                )
                m1[f, k] = a * (m1[f, k] + gain * m0[f, k]) + q * m1[below, k]
                m0[f, k] = a * m0[f, k] + q * m0[below, k]
    out = np.empty((3, count))
    for k in range(count):
        mean = m1[0, k] / m0[0, k]
        out[0, k] = math.log(m0[0, k])
        out[1, k] = mean
        out[2, k] = m2[0, k] / m0[0, k] - mean * mean
    return out
