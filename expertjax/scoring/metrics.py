"""What is computed of a unit and a concept: a metric is one function of a ranking.

To add one, write its formula here under `@metric`; the stores, flags and exports
follow. Where it matters, `compiled.py` has a faster twin, which has to agree.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp

from expertjax.typing import Array

Class = Literal[1, 0] | None  # positives, negatives, or both


@dataclasses.dataclass(frozen=True)
class Responses:
    """A concept's n labelled sentences, in ascending order of each unit's response.

    Attributes:
      x: [U, n] float32 responses.
      label: [U, n] 1 for positives, 0 for negatives, -1 for filler, which is last.
      pos_so_far: [U, n] int32 positives up to each sentence, itself among them.
      num_pos, num_neg: [] float32.
    """

    x: Array
    label: Array
    pos_so_far: Array
    num_pos: Array
    num_neg: Array

    def mean(self, label: Class, values: Array) -> Array:
        """[U] mean of [U, n] values over the positives (1), negatives (0) or both."""
        if label is None:
            count, is_meant = self.num_pos + self.num_neg, self.label >= 0
        else:
            count = self.num_pos if label else self.num_neg
            is_meant = self.label == label
        return _total(jnp.where(is_meant, values, 0.0)) / count

    def mean_response(self, label: Class) -> Array:
        """[U] mean response; exact where all are equal."""
        lowest = self.x[:, :1]
        return lowest[:, 0] + self.mean(label, self.x - lowest)

    def std_response(self, label: Class) -> Array:
        """[U] standard deviation of the responses, over n."""
        deviation = self.x - self.mean_response(label)[:, None]
        # Squares of large responses would overflow. A power of two scales exactly,
        # whether the compiler divides by it or multiplies by its inverse.
        exponent = jnp.frexp(jnp.max(jnp.abs(self.x), axis=1))[1]
        exponent = jnp.clip(exponent, -120, 120)
        scaled = jnp.ldexp(deviation, -exponent[:, None])
        return jnp.ldexp(jnp.sqrt(self.mean(label, scaled**2)), exponent)

    def percentile(self, label: Literal[1, 0], q: int) -> Array:
        """[U] percentile of the responses, interpolated linearly."""
        count = self.num_pos if label else self.num_neg
        so_far = self.pos_so_far
        if not label:
            so_far = jnp.arange(1, so_far.shape[1] + 1) - so_far
        low, hundredths = jnp.divmod((count.astype(jnp.int32) - 1) * q, 100)

        def response(rank: Array) -> Array:
            # A pass over all, where a search would be many steps of little work.
            is_it = (self.label == label) & (so_far == rank + 1)
            return jnp.max(jnp.where(is_it, self.x, -jnp.inf), axis=1)

        below = response(low)
        above = response(jnp.minimum(low + 1, count.astype(jnp.int32) - 1))
        return below + (above - below) * (hundredths / 100)


@dataclasses.dataclass(frozen=True)
class Ranking(Responses):
    """The same, and how they compare. Tied responses are one threshold (see `ties`).

    Attributes:
      is_first: [U, n] bool, True at the lowest response of each threshold.
      pos_below, neg_below: [U, n] positives and negatives of lower thresholds.
      pos_upto, neg_upto: [U, n] those of lower thresholds or of the same.
    """

    is_first: Array
    pos_below: Array
    neg_below: Array
    pos_upto: Array
    neg_upto: Array


def _total(values: Array) -> Array:
    """[U] sums of [U, n], by halves.

    Exact to few bits, and the same to the bit however many units a device has, which
    compilers' own sums are not.
    """
    while values.shape[1] > 1:
        if values.shape[1] % 2:
            values = jnp.pad(values, ((0, 0), (0, 1)))
        half = values.shape[1] // 2
        values = values[:, :half] + values[:, half:]
    return values[:, 0]


Metric = Callable[[Ranking], Array]  # -> [U] float32

METRICS: dict[str, Metric] = {}


def metric(formula: Metric) -> Metric:
    """Registers a metric under its function's name."""
    METRICS[formula.__name__] = formula
    return formula


@metric
def ap(r: Ranking) -> Array:
    """Average precision, as scikit-learn's `average_precision_score`.

    sum_t (R_t - R_{t-1}) P_t over distinct thresholds t (Suau et al. 2020, section
    3): the mean over positives of the precision at their threshold.
    """
    pos, neg = r.num_pos - r.pos_below, r.num_neg - r.neg_below
    return r.mean(1, pos / jnp.maximum(pos + neg, 1))


@metric
def ap_neg(r: Ranking) -> Array:
    """Average precision of the negated response: of units that switch off.

    The bottom experts of Kojima et al. 2024 (arXiv 2404.02431).
    """
    return r.mean(1, r.pos_upto / jnp.maximum(r.pos_upto + r.neg_upto, 1))


@metric
def auroc(r: Ranking) -> Array:
    """Area under the ROC curve (AurA: Suau et al. 2024, arXiv 2407.12824).

    The share of pairs in which the positive has the higher response, ties a half.
    """
    return r.mean(1, (r.neg_below + r.neg_upto) / 2 / r.num_neg)


@metric
def on_p50(r: Ranking) -> Array:
    """Median response to positives, which forcing sets (Suau et al. 2022)."""
    return r.percentile(1, 50)


@metric
def on_p90(r: Ranking) -> Array:
    """90th percentile of the responses to positives."""
    return r.percentile(1, 90)


@metric
def off_mean(r: Ranking) -> Array:
    """Mean response to negatives."""
    return r.mean_response(0)


@metric
def off_p50(r: Ranking) -> Array:
    """Median response to negatives (Kojima et al. 2024)."""
    return r.percentile(0, 50)


@metric
def on_mean(r: Ranking) -> Array:
    """Mean response to positives."""
    return r.mean_response(1)


@metric
def on_std(r: Ranking) -> Array:
    """Standard deviation of the responses to positives, over n_pos."""
    return r.std_response(1)


@metric
def off_std(r: Ranking) -> Array:
    """Standard deviation of the responses to negatives, over n_neg."""
    return r.std_response(0)


@metric
def accuracy(r: Ranking) -> Array:
    """Share of sentences told apart at the unit's mean response.

    Skill neurons (Wang et al. 2022, arXiv 2211.07349): a response above the mean
    over all labelled sentences says positive, tied ones together: all of a threshold
    are above where its lowest is. Below 0.5 a unit tells the opposite.
    """
    count = r.num_pos + r.num_neg
    share = r.num_pos / count
    lowest = r.x[:, :1]
    above = r.x - lowest
    mean = lowest + (share * r.mean(1, above) + (1 - share) * r.mean(0, above))[:, None]
    n = r.x.shape[1]
    begin = jnp.where(r.is_first & (r.x > mean), jnp.arange(n), n).min(1, keepdims=True)
    is_above = jnp.arange(n) >= begin
    on, off = r.mean(1, 1.0 * is_above), r.mean(0, 1.0 * ~is_above)
    return share * on + (1 - share) * off
