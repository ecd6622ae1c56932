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

from expertjax.building.drafts import NONE, Draft
from expertjax.building.settings import BuildSettings
from expertjax.concepts.files import Concept
from expertjax.concepts.form import classes, forms

# Features of form are matched within at most this many classes each.
CLASSES = 16


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
    kinds = kinds_of_form(texts, settings.match)
    concepts = []
    for draft, positives in zip(drafts, drawn, strict=True):
        order = _own_order(draft, len(texts), settings)
        limit = len(positives) if balanced else settings.num_negatives
        candidates = _candidates(draft, pool, kinds, positives, settings)
        matched = like(positives, candidates, order, kinds)
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
    draft: Draft,
    pool: np.ndarray | None,
    kinds: np.ndarray,
    positives: np.ndarray,
    settings: BuildSettings,
) -> np.ndarray:
    """The rows that may be drawn as negatives.

    Args:
      draft: the concept.
      pool: [num_texts] places in the order of the shared pool, if there is one.
      kinds: [num_texts] see `kinds_of_form`. Of kinds that the pool has too few of for
        as many negatives as it gives, those follow that stand next in its order.
      positives: drawn ones.
      settings: how large the pool is.
    """
    free = draft.may_be_negative(len(kinds))
    if draft.negatives is not None:  # in their own arrangement
        return draft.negatives[free[draft.negatives]]
    rows = np.flatnonzero(free)
    if pool is None:
        return rows
    in_pool = pool[rows] < settings.negative_pool
    limit = min(settings.num_negatives, np.count_nonzero(in_pool))
    wanted = _share(positives, kinds) * limit
    by_kind = np.lexsort((pool[rows], kinds[rows]))
    of_kind = kinds[rows][by_kind]
    nth = np.arange(len(rows)) - np.searchsorted(of_kind, of_kind)
    in_pool[by_kind[nth < np.floor(wanted[of_kind])]] = True
    if np.count_nonzero(in_pool) >= settings.min_negatives:
        return rows[in_pool]
    return _first(rows, settings.min_negatives, pool)


def _share(positives: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """[kinds] the share of the positives that are of each kind."""
    count = np.bincount(kinds[positives], minlength=kinds.max(initial=0) + 1)
    return count / max(len(positives), 1)


def kinds_of_form(texts: Sequence[str], match: Sequence[str]) -> np.ndarray:
    """[num_texts] numbers that sentences share whose features are in the same classes.

    Args:
      texts: the sentences.
      match: features in `form.FORMS`.
    """
    features = forms(texts, match).T
    of_each = [classes(values, CLASSES) for values in features]
    if not of_each:
        return np.zeros(len(texts), np.int64)
    return np.unique(np.stack(of_each, 1), axis=0, return_inverse=True)[1].ravel()


def like(
    positives: np.ndarray, rows: np.ndarray, order: np.ndarray, kinds: np.ndarray
) -> np.ndarray:
    """[num_texts] an order of `rows` whose beginning is of the positives' kinds.

    The n-th row of a kind comes up when n / (share of positives of that kind) does,
    so that any beginning has the positives' shares, as far as there are such rows.
    """
    share = _share(positives, kinds) + 1e-3 / max(len(positives), 1)
    sorted_rows = rows[np.lexsort((order[rows], kinds[rows]))]
    of_kind = kinds[sorted_rows]
    nth = np.arange(len(rows)) - np.searchsorted(of_kind, of_kind) + 1
    place = np.full(len(order), np.inf)
    place[sorted_rows] = nth / share[of_kind]
    return place
