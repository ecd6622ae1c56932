"""Bootstrap intervals for the best units of each concept.

Each resampling weighs every sentence by a Poisson(1) number (Hanley and MacGibbon
2006, *Creating non-parametric bootstrap samples using Poisson frequencies*), scaled
so that each class keeps its size; for AP this needs no new sorting, and one scan over
the sorted sentences does all resamplings.
"""

from collections.abc import Sequence

import numpy as np

from expertjax.concepts.pool import Membership
from expertjax.scoring.native import native
from expertjax.scoring.ties import is_first_of_sorted

_BOUNDS = (2.5, 97.5)


class Intervals:
    """Percentile intervals, 95%, of the AP of some units.

    They say how the AP varies with the sentences; they are not corrected for having
    picked the best of many units.
    """

    def __init__(
        self,
        members: Sequence[Membership],
        resamples: int,
        seed: int = 0,
        tolerance: float = 0.0,
    ) -> None:
        """Draws the weights, which all concepts and units share.

        Args:
          members: [C] labelled rows.
          resamples: number of resamplings.
          seed: of their weights.
          tolerance: of ties, see `ties`.
        """
        self._tolerance = float(tolerance)
        self._members = members
        self._resamples = resamples
        # A class has a stream of its own: the weights do not depend on the concepts.
        random = [np.random.default_rng((seed, label)) for label in (1, 0)]
        most_pos = max(member.num_positives for member in members)
        most_neg = max(member.num_negatives for member in members)
        self._pos, self._neg = (
            np.minimum(r.poisson(1, (most, resamples)), 255).astype(np.uint8)
            for r, most in zip(random, (most_pos, most_neg), strict=True)
        )

    def __call__(self, concept: int, x_NxK: np.ndarray) -> np.ndarray:
        """Intervals of some units for one concept.

        Args:
          concept: its number.
          x_NxK: float32 responses of the units.

        Returns:
          [K, 2] float32 lower and upper ends.
        """
        member = self._members[concept]
        by_label = np.argsort(-member.label, kind="stable")
        rows, num_pos = member.sentence[by_label], member.num_positives
        num_neg = len(rows) - num_pos
        pos, neg = self._pos, self._neg
        # By how much more a negative counts than a positive in each resampling.
        weight = num_neg / np.maximum(neg[:num_neg].sum(0, dtype=np.int64), 1)
        weight *= pos[:num_pos].sum(0, dtype=np.int64) / num_pos
        weight = weight.astype(np.float32)
        ends = np.empty((x_NxK.shape[1], 2), np.float32)
        for k in range(x_NxK.shape[1]):
            x_n = x_NxK[rows, k]
            order = np.argsort(-x_n, kind="stable")
            ap = np.empty(self._resamples)
            is_last = is_first_of_sorted(x_n[order][::-1], self._tolerance)[::-1]
            _resampled_ap(is_last, order, num_pos, pos, neg, weight, ap)
            # A resampling without positives has no AP.
            ends[k] = np.nanpercentile(ap, _BOUNDS) if np.isfinite(ap).any() else np.nan
        return ends


@native(nogil=True)
def _resampled_ap(is_last, order, num_pos, pos, neg, weight, ap):  # type: ignore[no-untyped-def]
    """AP of one unit under all resamplings.

    Args:
      is_last: [n] bool: where a threshold ends, in descending order.
      order: [n] which sentence each belongs to, positives first.
      num_pos: positives.
      pos, neg: [at least num_pos, B] and [at least n - num_pos, B] weights.
      weight: [B] float32, of a negative against a positive.
      ap: [B], is written.
    """
    tp, fp = np.zeros(len(ap), np.float32), np.zeros(len(ap), np.float32)
    before = np.zeros(len(ap), np.float32)
    ap[:] = 0
    has_pos = False
    for i in range(len(order)):
        if order[i] < num_pos:
            has_pos = True
            tp += pos[order[i]]
        else:
            fp += neg[order[i] - num_pos]
        if has_pos and is_last[i]:
            for b in range(len(ap)):
                ap[b] += (
                    (tp[b] - before[b])
                    * tp[b]
                    / max(tp[b] + fp[b] * weight[b], np.float32(1))
                )
                before[b] = tp[b]
            has_pos = False
    for b in range(len(ap)):
        ap[b] = ap[b] / tp[b] if tp[b] > 0 else np.nan
