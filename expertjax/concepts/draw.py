"""Draws the sentences of concepts.

Shared draws are made to be cheap, since every distinct sentence is a forward pass. All
sentences stand in one random order; each concept takes the first of its positives in
that order (bottom-k sampling: for each concept alone a uniform draw without
replacement, but the draws of overlapping concepts coincide). Negatives come from a
pool that begins with the positives drawn for all the concepts.
"""

import zlib
from collections.abc import Sequence

import numpy as np

from expertjax.concepts.drafts import NONE, Draft
from expertjax.concepts.files import Concept
from expertjax.concepts.settings import BuildSettings

# Lengths are matched within this many classes, which hold as many sentences each.
LENGTH_CLASSES = 16


def draw_concepts(
    drafts: Sequence[Draft],
    texts: Sequence[str],
    settings: BuildSettings,
    balanced: bool = False,
) -> list[Concept]:
    """A concept for each draft, the same for the same seed.

    Args:
      drafts: each has `min_negatives` candidates for negatives at least.
      texts: their sentences.
      settings: sizes, kind of negatives, seed.
      balanced: as many negatives as positives, for tasks whose chance is 0.5.
    """
    shared = settings.negatives == "shared"
    common = np.random.default_rng(settings.seed).permutation(len(texts))
    drawn = []
    for draft in drafts:
        order = common if shared else _own_order(draft, len(texts), settings)
        drawn.append(_first(draft.positives, settings.max_positives, order))
    pool = _pool_order(drawn, common) if shared else None
    lengths = _length_classes(texts)
    concepts = []
    for draft, positives in zip(drafts, drawn, strict=True):
        order = _own_order(draft, len(texts), settings)
        candidates = _candidates(draft, pool, len(texts), settings)
        if settings.match_lengths:
            matched = _as_long_as(positives, candidates, order, lengths)
        else:
            matched = order
        limit = len(positives) if balanced else settings.num_negatives
        negatives = _first(candidates, limit, matched)
        if balanced:
            positives = _first(positives, len(negatives), order)
        sentences = [
            tuple(texts[row] for row in rows) for rows in (positives, negatives)
        ]
        concepts.append(Concept(draft.group, draft.name, *sentences))
    return concepts


def _own_order(draft: Draft, num_texts: int, settings: BuildSettings) -> np.ndarray:
    """[num_texts] places in a random order that no other concept's presence moves."""
    seed = [settings.seed, zlib.crc32(draft.key.encode())]
    return np.random.default_rng(seed).permutation(num_texts)


def _first(rows: np.ndarray, limit: int, order: np.ndarray) -> np.ndarray:
    """The `limit` rows that stand first in `order`, as they were arranged in `rows`."""
    if len(rows) <= limit:
        return rows
    return rows[np.sort(np.argsort(order[rows], kind="stable")[:limit])]


def _pool_order(drawn: Sequence[np.ndarray], common: np.ndarray) -> np.ndarray:
    """[num_texts] places: first what was drawn as a positive, then the others."""
    is_drawn = np.zeros(len(common), bool)
    is_drawn[np.concatenate([NONE, *drawn])] = True
    place = np.empty(len(common), np.int64)
    place[np.lexsort((common, ~is_drawn))] = np.arange(len(common))
    return place


def _candidates(
    draft: Draft, pool: np.ndarray | None, num_texts: int, settings: BuildSettings
) -> np.ndarray:
    free = draft.may_be_negative(num_texts)
    if draft.negatives is not None:  # in their own arrangement
        return draft.negatives[free[draft.negatives]]
    rows = np.flatnonzero(free)
    if pool is None:
        return rows
    in_pool = rows[pool[rows] < settings.negative_pool]
    if len(in_pool) >= settings.min_negatives:
        return in_pool
    return _first(rows, settings.min_negatives, pool)


def _length_classes(texts: Sequence[str]) -> np.ndarray:
    """[num_texts] number of the class that a sentence's length in words is in."""
    n_words = np.array([text.count(" ") for text in texts])
    if not len(n_words):
        return n_words
    inner = np.arange(1, LENGTH_CLASSES) / LENGTH_CLASSES
    return np.searchsorted(np.unique(np.quantile(n_words, inner)), n_words)


def _as_long_as(
    positives: np.ndarray, rows: np.ndarray, order: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """[num_texts] an order of `rows` whose beginning is as long as the positives.

    The n-th row of a class comes up when n / (share of positives in that class) does,
    so that any beginning has the positives' shares, as far as there are such rows.
    """
    count = np.bincount(lengths[positives], minlength=LENGTH_CLASSES)
    share = (count + 1e-3) / len(positives)
    sorted_rows = rows[np.lexsort((order[rows], lengths[rows]))]
    of_class = lengths[sorted_rows]
    nth = np.arange(len(rows)) - np.searchsorted(of_class, of_class) + 1
    place = np.full(len(order), np.inf)
    place[sorted_rows] = nth / share[of_class]
    return place
