"""How a unit responds to the positives and negatives of its best concepts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

BINS = 24
# Of the labelled responses that lie beyond the range on either side; a few sentences
# of huge response would leave all others in one bin.
_BEYOND = 0.005


class Labelled(NamedTuple):
    """The labelled sentences of a concept that were scored.

    Attributes:
      sentence: [n] rows of the pool.
      is_positive: [n] bool.
    """

    sentence: np.ndarray
    is_positive: np.ndarray


class Spread(NamedTuple):
    """Responses of one unit, counted by class over a range that all concepts share.

    Attributes:
      low: where the first bin begins; what lies below is in it.
      high: where the last one ends; what lies above is in it.
      counts: [concepts, 2, BINS] int, positives first.
    """

    low: float
    high: float
    counts: np.ndarray


def read_labelled(memberships: pd.DataFrame) -> dict[str, Labelled]:
    """The labelled sentences of each concept, but those held out from the scores."""
    if "held_out" in memberships:
        memberships = memberships[~memberships["held_out"]]
    return {
        str(key): Labelled(
            rows["sentence"].to_numpy(), rows["label"].to_numpy(dtype=bool)
        )
        for key, rows in memberships.groupby("concept", sort=False)
    }


def best_concepts(ap_CxK: np.ndarray, n: int) -> np.ndarray:
    """[n, K]: the concepts of highest AP of each unit; of equal ones the first."""
    return np.argsort(-ap_CxK, axis=0, kind="stable")[:n]


def spread_of(x_N: np.ndarray, concepts: Sequence[Labelled]) -> Spread:
    """Counts a unit's responses.

    Args:
      x_N: to the whole pool.
      concepts: the unit's best, at least one.
    """
    both = np.concatenate([x_N[concept.sentence] for concept in concepts])
    low, high = np.quantile(both, [_BEYOND, 1 - _BEYOND])
    if not high > low:  # all but a few are equal
        low, high = low - 0.5, low + 0.5
    counts = [
        [
            np.histogram(x_N[rows].clip(low, high), BINS, (low, high))[0]
            for rows in (sentence[is_positive], sentence[~is_positive])
        ]
        for sentence, is_positive in concepts
    ]
    return Spread(float(low), float(high), np.array(counts))


def own_sentences(
    x_N: np.ndarray, concept: Labelled, n: int, n_negatives: int
) -> pd.DataFrame:
    """The labelled sentences of a concept that excite a unit most.

    Args:
      x_N: responses to the whole pool.
      concept: its labelled sentences.
      n: of both classes together.
      n_negatives: of the negatives of highest response, which are shown as well
        where they are not among them: they are what the unit takes for a positive.

    Returns:
      sentence, response, rank (from 1, among all that are labelled); highest first.
    """
    order = np.argsort(-x_N[concept.sentence], kind="stable")
    rank = np.arange(len(order))
    negative = ~concept.is_positive[order]
    shown = (rank < n) | (negative & (np.cumsum(negative) <= n_negatives))
    sentence = concept.sentence[order[shown]]
    return pd.DataFrame(
        {"sentence": sentence, "response": x_N[sentence], "rank": 1 + rank[shown]}
    )
