"""Co-learning: how far concepts share their experts (our definition).

A concept's set holds its top k units, or its experts at gamma. Units are keyed by
their number in the whole model, that is by site and unit. Of two sets a and b of M
units,

    overlap = |a & b| / min(|a|, |b|)      (|a & b| / k for top k)
    jaccard = |a & b| / |a or b|

and random sets of the same sizes share |a| |b| / M units. An empty set shares
nothing: both measures are 0.

"Finding Experts in Transformer Models" (arXiv 2005.07647) names the idea; the
measures and tests here are ours.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import scipy.sparse
from numpy.typing import ArrayLike

from expertjax.analysis.counts import is_expert, with_floor
from expertjax.concepts.names import find_concept
from expertjax.errors import InputError

Measure = Literal["overlap", "jaccard"]
# Ordering leaves optimally takes C^2 memory and up to C^4 steps.
_OPTIMAL_LEAVES = 700
_TAIL = 10  # standard deviations of a hypergeometric law that are summed


def top_units(ap_CxU: Iterable[np.ndarray], k: int) -> np.ndarray:
    """The k best units of each concept, [C, k] int, best first.

    Ties are broken by unit number. Rows are taken one at a time.

    Args:
      ap_CxU: average precision, [C, U].
      k: units of a concept.

    Raises:
      InputError: there are fewer than k units.
    """
    return np.stack([_top(ap_U, k) for ap_U in ap_CxU])


def _top(ap_U: np.ndarray, k: int) -> np.ndarray:
    if not 1 <= k <= len(ap_U):
        raise InputError(
            f"the top {k} units: expected 1 to {len(ap_U)}, the model's number of units"
        )
    least = np.partition(ap_U, -k)[-k]
    found = np.flatnonzero(ap_U >= least)
    return found[np.argsort(-ap_U[found], kind="stable")][:k]


def expert_units(
    ap_CxU: np.ndarray, gamma: float, floor_C: ArrayLike | None = None
) -> list[np.ndarray]:
    """The experts at gamma of each concept: [C] arrays of unit numbers, ascending.

    Args:
      ap_CxU: average precision.
      gamma: the threshold.
      floor_C: the AP that an expert of each concept has to reach as well.
    """
    return [
        np.flatnonzero(is_expert(ap_U, gamma)) for ap_U in with_floor(ap_CxU, floor_C)
    ]


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Which concepts share experts.

    Attributes:
      keys: [C] concepts.
      sizes_C: units of each concept.
      shared_CxC: units that two concepts share; the sizes on the diagonal.
      num_units: of the model, M.
    """

    keys: tuple[str, ...]
    sizes_C: np.ndarray
    shared_CxC: np.ndarray
    num_units: int

    @functools.cached_property
    def overlap(self) -> np.ndarray:
        """Shared units over the size of the smaller set, [C, C]."""
        smaller_CxC = np.minimum.outer(self.sizes_C, self.sizes_C)
        return self.shared_CxC / np.maximum(smaller_CxC, 1)

    @functools.cached_property
    def jaccard(self) -> np.ndarray:
        """Shared units over the size of the union, [C, C]."""
        either_CxC = np.add.outer(self.sizes_C, self.sizes_C) - self.shared_CxC
        return self.shared_CxC / np.maximum(either_CxC, 1)

    @functools.cached_property
    def expected_overlap(self) -> np.ndarray:
        """Mean overlap of random sets: max(|a|, |b|) / M; k / M for top k; [C, C]."""
        larger_CxC = np.maximum.outer(self.sizes_C, self.sizes_C)
        empty_CxC = np.minimum.outer(self.sizes_C, self.sizes_C) == 0
        return np.where(empty_CxC, 0.0, larger_CxC / self.num_units)

    @functools.cached_property
    def expected_jaccard(self) -> np.ndarray:
        """Mean Jaccard of random sets, [C, C].

        Jaccard is no linear function of the shared units, so that its mean is summed
        over their hypergeometric law, once for each pair of sizes that occurs.
        """
        sizes, which_C = np.unique(self.sizes_C, return_inverse=True)
        mean_SxS = np.zeros((len(sizes), len(sizes)))
        for row, size in enumerate(sizes):
            for column in range(row, len(sizes)):
                mean = _mean_jaccard(size, sizes[column], self.num_units)
                mean_SxS[row, column] = mean_SxS[column, row] = mean
        return mean_SxS[np.ix_(which_C, which_C)]

    def matrix(self, measure: Measure = "overlap") -> np.ndarray:
        """One of the two measures, [C, C].

        Raises:
          InputError: there is no such measure.
        """
        if measure not in ("overlap", "jaccard"):
            raise InputError(f"measure {measure!r}: expected overlap or jaccard")
        return getattr(self, measure)

    def row(self, key: str) -> int:
        """The number of a concept.

        Raises:
          InputError: see `concepts.names.find_concept`.
        """
        return self.keys.index(find_concept(key, self.keys))

    def select(self, keys: Sequence[str]) -> "Overlap":
        """The same of some concepts, in the order given."""
        rows = np.array([self.row(key) for key in keys], int)
        shared = self.shared_CxC[np.ix_(rows, rows)]
        return Overlap(tuple(keys), self.sizes_C[rows], shared, self.num_units)


def overlap(
    keys: Sequence[str], units: Sequence[np.ndarray], num_units: int
) -> Overlap:
    """Counts the units that each pair of concepts shares.

    Args:
      keys: [C] concepts.
      units: [C] arrays of distinct unit numbers: `top_units` or `expert_units`.
      num_units: of the model.
    """
    sizes_C = np.array([len(units_K) for units_K in units], int)
    columns = np.concatenate(list(units)) if len(units) else np.zeros(0, int)
    starts = np.concatenate([[0], sizes_C.cumsum()])
    ones = np.ones(len(columns), np.int32)
    shape = len(keys), num_units
    member_CxU = scipy.sparse.csr_array((ones, columns, starts), shape=shape)
    shared_CxC = (member_CxU @ member_CxU.T).toarray()
    return Overlap(tuple(keys), sizes_C, shared_CxC, num_units)


def _mean_jaccard(a: int, b: int, num_units: int) -> float:
    """Mean of s / (a + b - s) over the units s that random sets share."""
    if not min(a, b):
        return 0.0
    from scipy import stats  # half a second, for which every program would wait

    law = stats.hypergeom(num_units, a, b)
    reach = _TAIL * law.std() + _TAIL
    low = max(0, a + b - num_units, int(law.mean() - reach))
    shared = np.arange(low, min(a, b, int(law.mean() + reach)) + 1)
    return float(law.pmf(shared) @ (shared / (a + b - shared)))


def cluster_order(similarity_CxC: np.ndarray) -> np.ndarray:
    """An order in which like concepts stand together, [C] int.

    The leaves of a hierarchical clustering, average linkage over 1 - similarity; up
    to 700 concepts they are turned so that neighbours are as alike as can be.

    Args:
      similarity_CxC: symmetric, in [0, 1].
    """
    if len(similarity_CxC) < 3:
        return np.arange(len(similarity_CxC))
    from scipy.cluster import hierarchy  # as above
    from scipy.spatial.distance import squareform

    distance_CxC = 1 - similarity_CxC
    np.fill_diagonal(distance_CxC, 0)
    condensed = squareform(distance_CxC, checks=False)
    optimal = len(similarity_CxC) <= _OPTIMAL_LEAVES
    tree = hierarchy.linkage(condensed, "average", optimal_ordering=optimal)
    return hierarchy.leaves_list(tree)


def nearest(found: Overlap, key: str, n: int = 10) -> pd.DataFrame:
    """The concepts that share most experts with one.

    Args:
      found: what `overlap` found.
      key: the concept.
      n: how many to name.

    Returns:
      concept, other, shared, overlap, expected (overlap of random sets), jaccard, p:
      the probability that two random sets of these sizes share as many units or more
      (hypergeometric). Units respond alike, so that sets are not as independent as
      this null has them: p tells what is no accident, not how surprising it is.
      Highest overlap first, ties by order of concepts; concepts that share none
      are left out.

    Raises:
      InputError: there is no such concept.
    """
    row = found.row(key)
    others = np.delete(np.arange(len(found.keys)), row)
    others = others[found.shared_CxC[row, others] > 0]
    best = others[np.argsort(-found.overlap[row, others], kind="stable")][:n]
    return _pair_table(found, np.full(len(best), row), best)


def strongest_pairs(found: Overlap, n: int = 10) -> pd.DataFrame:
    """The n pairs of concepts of highest overlap, as of `nearest`.

    Pairs that share nothing are left out, so that there may be fewer.
    """
    first, second = np.nonzero(np.triu(found.shared_CxC, 1))
    best = np.argsort(-found.overlap[first, second], kind="stable")[:n]
    return _pair_table(found, first[best], second[best])


def _pair_table(
    found: Overlap, rows_P: np.ndarray, others_P: np.ndarray
) -> pd.DataFrame:
    from scipy import stats  # as above

    shared_P = found.shared_CxC[rows_P, others_P]
    sizes = found.sizes_C[rows_P], found.sizes_C[others_P]
    return pd.DataFrame(
        {
            "concept": [found.keys[row] for row in rows_P],
            "other": [found.keys[row] for row in others_P],
            "shared": shared_P,
            "overlap": found.overlap[rows_P, others_P],
            "expected": found.expected_overlap[rows_P, others_P],
            "jaccard": found.jaccard[rows_P, others_P],
            "p": stats.hypergeom.sf(shared_P - 1, found.num_units, *sizes),
        }
    )
