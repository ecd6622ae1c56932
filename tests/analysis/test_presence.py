"""Counts of models against naive ones; the concepts that models have in common."""

import numpy as np
import pytest

from expertjax.analysis.counts import over_gamma
from expertjax.analysis.presence import MEASURES, model_presence, presence
from expertjax.errors import InputError

KEYS = [f"sense/c{i}" for i in range(5)]


def draw_ap(num_concepts: int, num_units: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((num_concepts, num_units), np.float32) ** 2


def test_counts_are_the_naive_ones() -> None:
    ap_CxU = draw_ap(5, 400, 0)
    ap_CxU[0, :4] = [0.5, 0.9, 1.0, 0.499999]
    layer_U = np.random.default_rng(1).choice([2, 5, 7], 400)
    found = model_presence("m", ap_CxU, layer_U)
    over = over_gamma(ap_CxU)
    np.testing.assert_array_equal(found.acquired_G, over.acquired)
    np.testing.assert_array_equal(found.experts_LxG.sum(0), over.experts)
    np.testing.assert_array_equal(found.expert_units_LxG.sum(0), over.units)
    assert list(found.layers) == [2, 5, 7] and found.num_units == 400
    for row, layer in enumerate(found.layers):
        inside = ap_CxU[:, layer_U == layer]
        for column in (0, 100, 400, 500):
            expert = inside >= np.float32(over.gammas[column])
            assert found.experts_LxG[row, column] == expert.sum()
            assert found.acquired_LxG[row, column] == expert.any(1).sum()
            assert found.expert_units_LxG[row, column] == expert.any(0).sum()


def test_experts_above_the_null_alone() -> None:
    ap_CxU = draw_ap(3, 200, 2)
    floor_C = np.array([0.8, np.inf, 0.0])
    found = model_presence("m", ap_CxU, np.zeros(200), np.array([0.6]), floor_C)
    expert = (ap_CxU >= np.float32(0.6)) & (ap_CxU >= floor_C[:, None])
    assert found.experts_LxG[0, 0] == expert.sum()
    assert found.acquired_G[0] == expert.any(1).sum() == 2
    assert found.expert_units_LxG[0, 0] == expert.any(0).sum()


def test_models_are_compared_by_what_all_have(make_result) -> None:
    a = make_result("a", draw_ap(5, 300, 3), KEYS)
    ap = draw_ap(4, 200, 4)
    keys = [KEYS[3], "sense/own", KEYS[0], KEYS[1]]
    b = make_result("b", ap, keys, null_threshold=0.9)
    found = presence([a, b], [0.5, 0.8])
    assert found.concepts == (KEYS[0], KEYS[1], KEYS[3])
    assert found.left_out == {"a": [KEYS[2], KEYS[4]], "b": ["sense/own"]}
    expert = ap[[0, 2, 3]] >= np.float32(0.9)  # what luck reaches is no expert
    table = found.table(0.8).set_index("model").loc["b"]
    assert table["experts"] == expert.sum() and table["num_units"] == 200
    assert table["acquired_share"] == expert.any(1).sum() / 3
    assert table["experts_share"] == expert.sum() / (200 * 3)
    assert table["units_share"] == expert.any(0).sum() / 200
    with pytest.raises(InputError, match="the surface of its sentences is not known"):
        presence([b], [0.8], above_surface=True)
    b.concepts["surface_high"] = [0.95, 0.5, 0.5, np.nan]
    strict = presence([b], [0.8], above_surface=True).counts("experts")
    assert strict[0, 0] == (ap[0] >= 0.95).sum() + (ap[1:] >= 0.9).sum()


def test_tables(make_result) -> None:
    a = make_result("a", draw_ap(5, 300, 5), KEYS, num_layers=4)
    b = make_result("b", draw_ap(5, 150, 6), KEYS, num_layers=2)
    found = presence([a, b])
    table = found.table()
    assert len(table) == 2 * 501 and set(MEASURES) < set(table)
    layers = found.layers(0.7)
    assert list(layers["depth"]) == [0.125, 0.375, 0.625, 0.875, 0.25, 0.75]
    totals = layers.groupby("model")["experts"].sum()
    assert list(totals) == list(found.table(0.7)["experts"])
    with pytest.raises(InputError, match=r"below the lowest threshold, 0\.5"):
        found.layers(0.3)


def test_results_that_cannot_be_compared(make_result) -> None:
    a = make_result("a", draw_ap(1, 60, 0), ["sense/x"])
    b = make_result("b", draw_ap(1, 60, 0), ["sense/y"])
    with pytest.raises(InputError, match="no concept is in all of a, b"):
        presence([a, b])
    again = make_result("elsewhere/a", draw_ap(1, 60, 0), ["sense/x"])
    with pytest.raises(InputError, match="two results are called a"):
        presence([a, again])
