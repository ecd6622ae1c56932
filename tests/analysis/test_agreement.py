"""Group test and Mantel test against slow oracles; p is uniform without relation."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from expertjax.analysis.agreement import ALL_GROUPS, compare_models, group_test
from expertjax.errors import InputError


def similarity(n: int, seed: int) -> np.ndarray:
    half = np.triu(np.random.default_rng(seed).random((n, n)), 1)
    return half + half.T + np.eye(n)


def named(groups: list[str]) -> tuple[list[str], pd.DataFrame]:
    keys = [f"s/{i}" for i in range(len(groups))]
    return keys, pd.DataFrame({"concept": keys, "group": groups})


def test_means_are_those_of_pairs() -> None:
    keys, groups = named(list("aaabbc"))
    more = pd.DataFrame({"concept": ["s/5", "s/9"], "group": ["b", "a"]})
    groups = pd.concat([groups, more])  # s/5 is in b and c, s/9 is no concept here
    keys.append("s/none")  # has no group
    matrix = similarity(7, 0)
    table = group_test(keys, matrix, groups, 19).set_index("group")
    of = [{"a"}, {"a"}, {"a"}, {"b"}, {"b"}, {"c", "b"}]
    pairs = list(itertools.combinations(range(6), 2))
    within = [matrix[i, j] for i, j in pairs if of[i] & of[j]]
    across = [matrix[i, j] for i, j in pairs if not of[i] & of[j]]
    row = table.loc[ALL_GROUPS]
    assert row["concepts"] == 6 and row["pairs"] == len(within) == 6
    assert row["within"] == pytest.approx(np.mean(within))
    assert row["across"] == pytest.approx(np.mean(across))
    assert row["ratio"] == pytest.approx(np.mean(within) / np.mean(across))
    assert "c" not in table.index  # one concept has no pairs
    assert table.loc["b", "within"] == pytest.approx(
        matrix[[3, 3, 4], [4, 5, 5]].mean()
    )
    assert table.loc["b", "across"] == pytest.approx(matrix[3:6, :3].mean())


def test_planted_groups_are_found_and_shuffled_ones_not() -> None:
    keys, groups = named([str(i // 5) for i in range(30)])
    inside = np.kron(np.eye(6), np.ones((5, 5)))
    found = group_test(keys, similarity(30, 1) + 0.5 * inside, groups)
    assert found["p"][0] == pytest.approx(1 / 1000)
    assert found["ratio"][0] > 1.5


def test_p_of_groups_is_uniform_without_relation() -> None:
    keys, groups = named([str(i // 4) for i in range(16)])
    p = [group_test(keys, similarity(16, s), groups, 99)["p"][0] for s in range(200)]
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert 0.01 <= np.mean(np.array(p) <= 0.1) <= 0.2


def test_groups_that_test_nothing() -> None:
    keys, groups = named(list("abcd"))
    with pytest.raises(InputError, match="0 pairs inside"):
        group_test(keys, similarity(4, 0), groups)
    keys, groups = named(list("aaaa"))
    with pytest.raises(InputError, match="some across groups"):
        group_test(keys, similarity(4, 0), groups)


def test_agreement_of_models() -> None:
    a, b = similarity(12, 0), similarity(12, 1)
    b[:4, :4] = a[:4, :4]
    table = compare_models(["a", "b", "a2"], [a, b, a.copy()], neighbours=3)
    pairs = np.triu_indices(12, 1)
    row = table.iloc[0]
    assert row["spearman"] == pytest.approx(stats.spearmanr(a[pairs], b[pairs])[0])
    near = [
        {i: set(np.argsort(-(m[i] - 9 * np.eye(12)[i]))[:3]) for i in range(12)}
        for m in (a, b)
    ]
    agreed = np.mean([len(near[0][i] & near[1][i]) / 3 for i in range(12)])
    assert row["neighbours"] == pytest.approx(agreed)
    assert row["expected"] == pytest.approx(3 / 11)
    same = table.iloc[1]
    assert same["spearman"] == pytest.approx(1) and same["neighbours"] == 1
    assert same["p"] == pytest.approx(1 / 1000)
    with pytest.raises(InputError, match="3 concepts in common"):
        compare_models(["a", "b"], [a[:3, :3], b[:3, :3]])


def test_p_of_models_is_uniform_without_relation() -> None:
    p = [
        compare_models(
            ["a", "b"], [similarity(10, s), similarity(10, 1000 + s)], 3, 99
        )["p"][0]
        for s in range(200)
    ]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_a_model_without_overlaps_has_no_agreement() -> None:
    flat = np.eye(8)
    table = compare_models(["a", "flat"], [similarity(8, 0), flat], 3, 9)
    assert table[["spearman", "p"]].isna().all(axis=None)
