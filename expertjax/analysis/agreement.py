"""Is the overlap of concepts more than luck: groups of concepts, several models.

Both tests permute concepts (Mantel 1967): entries of an overlap matrix that share a
concept are not independent, so that no test of entries would do.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from expertjax.errors import InputError

ALL_GROUPS = "(all groups)"
LEAST_CONCEPTS = 4  # that models are compared by


def group_test(
    keys: Sequence[str],
    similarity_CxC: np.ndarray,
    groups: pd.DataFrame,
    num_permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Do concepts of one group share more experts than concepts of different ones?

    Args:
      keys: [C] concepts.
      similarity_CxC: their overlap, symmetric.
      groups: rows concept, group; a concept may be in several groups. Concepts
        without one are left out.
      num_permutations: of the concepts over the rows of the matrix.
      seed: of the permutations.

    Returns:
      a row for `ALL_GROUPS` and for each group of two concepts or more, largest
      first: group, concepts, pairs, within (mean similarity of pairs inside),
      across (over all groups: of pairs with no group in common; of one group: of its
      concepts with others), ratio, p (upper tail, of `within`).

    Raises:
      InputError: fewer than two pairs are inside a group, or none across.
    """
    member_CxG, names, rows = _members(keys, groups)
    similarity_CxC = similarity_CxC[np.ix_(rows, rows)]
    together_CxC = member_CxG @ member_CxG.T > 0
    sets = [np.argwhere(np.triu(together_CxC, 1))]
    apart_CxC = np.triu(~together_CxC, 1)
    if len(sets[0]) < 2 or not apart_CxC.any():
        raise InputError(
            f"groups: {len(rows)} of {len(keys)} concepts are in {len(names)} groups, "
            f"with {len(sets[0])} pairs inside a group; expected 2 pairs or more, and "
            "some across groups"
        )
    across = [similarity_CxC[apart_CxC].mean()]
    for member_C in member_CxG.T.astype(bool):
        inside = np.flatnonzero(member_C)
        sets.append(inside[np.argwhere(np.triu(np.ones((len(inside),) * 2), 1))])
        others = similarity_CxC[np.ix_(member_C, ~member_C)]
        across.append(others.mean() if others.size else np.nan)
    within, p = _permuted_means(similarity_CxC, sets, num_permutations, seed)
    table = pd.DataFrame(
        {
            "group": [ALL_GROUPS, *names],
            "concepts": [len(rows), *member_CxG.sum(0).astype(int)],
            "pairs": [len(pairs) for pairs in sets],
            "within": within,
            "across": across,
        }
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        table["ratio"] = np.divide(within, across)
    table["p"] = p
    return table[table["pairs"] > 0].reset_index(drop=True)


def _members(
    keys: Sequence[str], groups: pd.DataFrame
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """[C', G] memberships of the concepts that have any, the groups, their rows."""
    known = groups[groups["concept"].isin(list(keys))].drop_duplicates()
    counts = known["group"].value_counts(sort=False)
    names = sorted(counts.index, key=lambda name: (-counts[name], name))
    column_of = {name: column for column, name in enumerate(names)}
    row_of = {key: row for row, key in enumerate(keys)}
    member_CxG = np.zeros((len(keys), len(names)))
    for concept, group in known[["concept", "group"]].itertuples(index=False):
        member_CxG[row_of[concept], column_of[group]] = 1
    rows = np.flatnonzero(member_CxG.any(1))
    return member_CxG[rows], names, rows


def _permuted_means(
    similarity_CxC: np.ndarray, sets: Sequence[np.ndarray], num: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean similarity of each set of pairs, and how often permuted ones reach it."""
    counts = np.array([len(pairs) for pairs in sets])
    which = np.repeat(np.arange(len(sets)), counts)
    first, second = np.concatenate(sets).T

    def means(order_C: np.ndarray) -> np.ndarray:
        values = similarity_CxC[order_C[first], order_C[second]]
        return np.bincount(which, values, len(sets)) / np.maximum(counts, 1)

    draw, n = np.random.default_rng(seed), len(similarity_CxC)
    observed = means(np.arange(n))
    # Sums of the same numbers in another order may differ in the last digit.
    least = observed - 1e-9 * np.abs(observed)
    reached = sum((means(draw.permutation(n)) >= least).astype(int) for _ in range(num))
    return observed, (1 + reached) / (1 + num)


def compare_models(
    names: Sequence[str],
    similarities: Sequence[np.ndarray],
    neighbours: int = 5,
    num_permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Do models agree on which concepts share experts?

    Units of different models cannot be matched, their overlap matrices can.

    Args:
      names: [M] models.
      similarities: [M] matrices [C, C] of the same concepts.
      neighbours: nearest concepts that are compared.
      num_permutations: of one model's concepts (Mantel's test).
      seed: of the permutations.

    Returns:
      a row for each pair: model, other, spearman (of the off-diagonal overlaps; NaN
      where a model's are all equal), p (upper tail), neighbours (share of a concept's
      nearest ones that both models name, mean over concepts), expected (of it by
      chance).

    Raises:
      InputError: fewer than four concepts.
    """
    num_concepts = len(similarities[0])
    if num_concepts < LEAST_CONCEPTS:
        raise InputError(
            f"models have {num_concepts} concepts in common; expected "
            f"{LEAST_CONCEPTS} or more to compare which of them share experts"
        )
    ranks_MxCxC = np.stack([_standard_ranks(matrix) for matrix in similarities])
    rho_MxM, p_MxM = _mantel(ranks_MxCxC, num_permutations, seed)
    n = min(neighbours, num_concepts - 2)
    near = [_neighbours(matrix, n) for matrix in similarities]
    rows = [
        {
            "model": names[i],
            "other": names[j],
            "spearman": rho_MxM[i, j],
            "p": p_MxM[i, j],
            "neighbours": float((near[i] & near[j]).sum(1).mean() / n),
            "expected": n / (num_concepts - 1),
        }
        for i, j in itertools.combinations(range(len(names)), 2)
    ]
    columns = ["model", "other", "spearman", "p", "neighbours", "expected"]
    return pd.DataFrame(rows, columns=columns)


def _standard_ranks(matrix_CxC: np.ndarray) -> np.ndarray:
    """Ranks of the off-diagonal entries, mean 0 and norm 1; NaN if all are equal."""
    pairs = np.triu_indices(len(matrix_CxC), 1)
    ranks = stats.rankdata(matrix_CxC[pairs])
    ranks -= ranks.mean()
    norm = np.linalg.norm(ranks)
    result = np.zeros(matrix_CxC.shape)
    result[pairs] = ranks / norm if norm > 0 else np.nan
    return result + result.T


def _mantel(
    ranks_MxCxC: np.ndarray, num: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Spearman of all pairs of models, [M, M], and Mantel's p."""
    num_models, n, _ = ranks_MxCxC.shape
    pairs = np.triu_indices(n, 1)
    fixed_MxP = ranks_MxCxC[:, *pairs]
    flat = ranks_MxCxC.reshape(num_models, n * n)

    def spearman(order_C: np.ndarray) -> np.ndarray:
        moved_P = order_C[pairs[0]] * n + order_C[pairs[1]]
        return fixed_MxP @ np.stack([row.take(moved_P) for row in flat]).T

    draw = np.random.default_rng(seed)
    observed = spearman(np.arange(n))
    reached = np.zeros((num_models, num_models))
    for _ in range(num):
        reached += spearman(draw.permutation(n)) >= observed - 1e-12
    p = np.where(np.isnan(observed), np.nan, (1 + reached) / (1 + num))
    return observed, p


def _neighbours(similarity_CxC: np.ndarray, n: int) -> np.ndarray:
    """Whose n nearest concepts are which, [C, C] bool; ties by order of concepts."""
    similarity_CxC = np.array(similarity_CxC, float)
    np.fill_diagonal(similarity_CxC, -np.inf)
    best_CxN = np.argsort(-similarity_CxC, axis=1, kind="stable")[:, :n]
    near_CxC = np.zeros(similarity_CxC.shape, bool)
    np.put_along_axis(near_CxC, best_CxN, True, axis=1)
    return near_CxC
