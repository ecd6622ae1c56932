"""Overlaps against sets and brute force; random sets share what is expected."""

import itertools
from math import comb

import numpy as np
import pandas as pd
import pytest

from expertjax.analysis import colearning
from expertjax.errors import InputError

KEYS = [f"sense/c{i}" for i in range(6)]


def draw_ap(num_concepts: int, num_units: int, seed: int = 0) -> np.ndarray:
    """With many ties."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 40, (num_concepts, num_units)).astype(np.float32) / 40


def test_top_units_are_a_stable_sorts() -> None:
    ap_CxU = draw_ap(5, 300)
    expected = np.argsort(-ap_CxU, axis=1, kind="stable")[:, :37]
    np.testing.assert_array_equal(colearning.top_units(ap_CxU, 37), expected)
    rows = (row for row in ap_CxU)  # never needs more than a row
    np.testing.assert_array_equal(colearning.top_units(rows, 37), expected)


@pytest.mark.parametrize("k", [0, 301])
def test_more_units_than_there_are(k: int) -> None:
    with pytest.raises(InputError, match="expected 1 to 300"):
        colearning.top_units(draw_ap(2, 300), k)


@pytest.mark.parametrize("gamma", [None, 0.925])
def test_overlap_is_that_of_sets(gamma: float | None) -> None:
    ap_CxU = draw_ap(6, 100)
    ap_CxU[4] = 0.5  # has no expert
    units = (
        list(colearning.top_units(ap_CxU, 20))
        if gamma is None
        else colearning.expert_units(ap_CxU, gamma)
    )
    found = colearning.overlap(KEYS, units, 100)
    sets = [set(u.tolist()) for u in units]
    if gamma is not None:
        expected = [set(np.flatnonzero(row >= np.float32(gamma))) for row in ap_CxU]
        assert sets == expected and not sets[4]
    for i, j in itertools.product(range(6), repeat=2):
        both, either = len(sets[i] & sets[j]), len(sets[i] | sets[j])
        smaller = min(len(sets[i]), len(sets[j]))
        assert found.shared_CxC[i, j] == both
        assert found.overlap[i, j] == (both / smaller if smaller else 0)
        assert found.jaccard[i, j] == (both / either if smaller else 0)


def test_expected_values_by_enumeration() -> None:
    """All sets of 2 or 3 out of 6 units."""
    units = [np.array([0, 1]), np.array([0, 1, 2]), np.array([], int)]
    found = colearning.overlap(KEYS[:3], units, 6)
    sizes = [2, 3]
    for i, j in itertools.product(range(2), repeat=2):
        fixed, overlaps, jaccards = set(range(sizes[i])), [], []
        for other in itertools.combinations(range(6), sizes[j]):
            both = len(fixed & set(other))
            overlaps.append(both / min(sizes[i], sizes[j]))
            jaccards.append(both / len(fixed | set(other)))
        assert len(overlaps) == comb(6, sizes[j])
        assert found.expected_overlap[i, j] == pytest.approx(np.mean(overlaps))
        assert found.expected_jaccard[i, j] == pytest.approx(np.mean(jaccards))
    assert not found.expected_overlap[2].any() and not found.expected_jaccard[2].any()


def test_random_sets_share_what_is_expected() -> None:
    rng, num_units, k = np.random.default_rng(1), 2000, 50
    units = [rng.choice(num_units, k, replace=False) for _ in range(300)]
    found = colearning.overlap([str(i) for i in range(300)], units, num_units)
    pairs = np.triu_indices(300, 1)
    assert found.expected_overlap[pairs] == pytest.approx(k / num_units)
    error = 4 * found.overlap[pairs].std() / np.sqrt(len(pairs[0]))
    assert abs(found.overlap[pairs].mean() - k / num_units) < error
    error = 4 * found.jaccard[pairs].std() / np.sqrt(len(pairs[0]))
    assert abs(found.jaccard[pairs].mean() - found.expected_jaccard[0, 1]) < error


def test_nearest_and_its_tail() -> None:
    units = [np.arange(0, 4), np.arange(2, 6), np.arange(3, 7), np.arange(10, 14)]
    found = colearning.overlap(KEYS[:4], units, 20)
    table = colearning.nearest(found, KEYS[0], 2)
    assert list(table["other"]) == [KEYS[1], KEYS[2]]
    assert list(table["shared"]) == [2, 1]
    ways = sum(comb(4, s) * comb(16, 4 - s) for s in (2, 3, 4)) / comb(20, 4)
    assert table["p"][0] == pytest.approx(ways)
    best = colearning.strongest_pairs(found, 1).iloc[0]
    assert (best["concept"], best["other"], best["shared"]) == (KEYS[1], KEYS[2], 3)
    with pytest.raises(InputError, match="no concept 'x'"):
        colearning.nearest(found, "x")


def test_what_shares_nothing_is_not_among_what_shares_most() -> None:
    units = [np.arange(0, 4), np.arange(2, 6), np.arange(10, 14), np.arange(14, 18)]
    found = colearning.overlap(KEYS[:4], units, 20)
    pairs = colearning.strongest_pairs(found)
    assert list(zip(pairs["concept"], pairs["other"], strict=True)) == [tuple(KEYS[:2])]
    assert list(colearning.nearest(found, KEYS[0])["other"]) == [KEYS[1]]
    assert colearning.nearest(found, KEYS[2]).empty
    assert colearning.strongest_pairs(found.select(KEYS[2:4])).empty


def test_concepts_are_said_as_people_say_them(make_result) -> None:
    keys = ["sense/bank-1_14_00__", "sense/bank-1_17_01__", "sense/bird-1_05_00__"]
    result = make_result("model", draw_ap(3, 90), keys)
    assert result.names == ["bank (1:14:00)", "bank (1:17:01)", "bird"]
    assert list(result.concepts["concept"]) == keys
    for said, row in (("bird", 2), ("bank (1:17:01)", 1), (keys[0], 0)):
        assert result.row(said) == row and result.key(said) == keys[row]
    near = result.nearest("bird", k=30)
    assert set(near["concept"]) == {keys[2]} and set(near["other"]) == set(keys[:2])
    shared = result.shared_units("bird", "bank (1:14:00)", k=30)
    pd.testing.assert_frame_equal(shared, result.shared_units(keys[2], keys[0], k=30))
    with pytest.raises(InputError, match=rf"in {result.folder.path}; nearest: bird$"):
        result.metric("ap", "brid")
    with pytest.raises(InputError, match=f"'bank' .* any of {keys[0]}, {keys[1]}"):
        result.metric("ap", "bank")


def test_like_concepts_stand_together() -> None:
    block = np.kron(np.eye(3), np.ones((4, 4)))
    shuffled = np.random.default_rng(2).permutation(12)
    order = colearning.cluster_order(block[np.ix_(shuffled, shuffled)])
    assert sorted(order) == list(range(12))
    kinds = shuffled[order] // 4
    assert (np.diff(kinds) != 0).sum() == 2
    assert list(colearning.cluster_order(np.eye(2))) == [0, 1]


def test_facade(make_result) -> None:
    ap_CxU = draw_ap(6, 90)
    result = make_result("model", ap_CxU, KEYS)
    table = result.overlap(k=30)
    a, b = (set(np.argsort(-row, kind="stable")[:30]) for row in ap_CxU[:2])
    assert table.loc[KEYS[0], KEYS[1]] == len(a & b) / 30
    either = result.overlap(k=30, measure="jaccard")
    assert either.loc[KEYS[0], KEYS[1]] == len(a & b) / len(a | b)
    at_gamma = result.overlap(gamma=0.9)
    experts = [set(np.flatnonzero(row >= np.float32(0.9))) for row in ap_CxU[:2]]
    smaller = min(map(len, experts))
    assert at_gamma.iloc[0, 1] == len(experts[0] & experts[1]) / smaller
    shared = result.shared_units(KEYS[0], KEYS[1], k=30)
    assert set(shared["unit"]) == a & b
    np.testing.assert_array_equal(shared["ap_b"], ap_CxU[1, shared["unit"]])
    ranks = np.argsort(-ap_CxU[0], kind="stable")[shared["rank_a"]]
    np.testing.assert_array_equal(ranks, shared["unit"])
    assert (shared[["ap_a", "ap_b"]].mean(axis=1).diff().dropna() <= 0).all()
    near = result.nearest(KEYS[0], n=3, k=30)
    others = table.loc[KEYS[0]].drop(KEYS[0])
    assert list(near["overlap"]) == sorted(others, reverse=True)[:3]
    assert isinstance(near, pd.DataFrame)
    with pytest.raises(InputError, match="expected overlap or jaccard"):
        result.overlap(k=5, measure="cosine")
