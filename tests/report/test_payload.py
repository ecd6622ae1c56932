"""The numbers on the page are those of the data."""

import dataclasses
import json

import numpy as np
import pytest

from expertjax.report.limits import Limits, limits_for
from expertjax.report.null import expected_counts
from expertjax.report.payload import model_payload, numbers

LIMITS = Limits(units=20, concepts=3, excited=3, sentences=5, text=40)


def payload_of(data, limits=LIMITS, top_k=10):
    payload = model_payload(data, limits, top_k)
    return json.loads(json.dumps(payload, allow_nan=False))


def test_concepts_are_counted(make_data):
    data = make_data(6, gamma=0.8)
    table = payload_of(data)["concepts"]
    for c, ap_U in enumerate(data.ap_CxU):
        assert table["best"][c] == pytest.approx(ap_U.max(), abs=1e-5)
        assert table["above"][c] == (ap_U >= 0.5).sum()
        assert table["experts"][c] == (ap_U >= np.float32(0.8)).sum()
        assert table["best_unit"][c] == ap_U.argmax()
        assert sum(table["observed"][c]) == 480
        counted = [(ap_U >= np.float32(g)).sum() for g in np.linspace(0.5, 1, 51)]
        assert table["over"][c] == counted


def test_law_is_what_chance_gives(make_data):
    data = make_data(2)
    law = payload_of(data)["laws"]["175,325"]
    expected = expected_counts(data.null, np.linspace(0, 1, 101), 480)
    np.testing.assert_allclose(law, expected, rtol=1e-4)


def test_concepts_have_names_and_keys(make_data):
    keys = ["sense/bank-1_14_00__", "sense/bank-1_17_01__", "sense/bird-1_05_00__"]
    data = make_data(3, names=keys)
    shown = payload_of(data)
    assert shown["concepts"]["key"] == keys
    assert shown["concepts"]["name"] == ["bank (1:14:00)", "bank (1:17:01)", "bird"]
    assert shown["pool"] is None
    of_many = dataclasses.replace(data, num_sentences=6815)
    assert payload_of(of_many)["pool"] == 6815


def test_infinite_threshold_is_no_number(make_data):
    data = make_data(2, n_pos=[1, 175], n_neg=[4, 325], null_threshold=[np.inf, 0.5])
    table = payload_of(data)["concepts"]
    assert table["threshold"] == [None, 0.5] and table["above"][0] == 0


def test_threshold_is_compared_in_the_dtype_of_the_array(make_data):
    data = make_data(1, gamma=0.9)
    data.ap_CxU.clip(0, np.float32(0.85), out=data.ap_CxU)
    data.ap_CxU[0, 7] = 0.9  # as float32 a little less than 0.9
    name = data.concepts["concept"][0]
    data.experts[name] = data.experts[name].head(1).assign(ap=data.ap_CxU[0, 7])
    shown = payload_of(data)
    assert shown["concepts"]["experts"] == [1] and shown["over"]["at"] == [1, 1, 1]
    assert shown["top"][0]["expert"] == [1]


def test_top_units_keep_what_is_known(make_data):
    data = make_data(1, n_units=2000)
    name = data.concepts["concept"][0]
    table = (
        data.experts[name]
        .iloc[:2]
        .assign(
            ap=np.float32([0.9411, 0.4]),
            above_chance=[True, False],
            ap_low=[0.9123, np.nan],
            ap_high=[0.9501, np.nan],
            ap_heldout=[0.8771, np.nan],
            on_p50=np.nan,
        )
    )
    data.experts[name] = table
    top = payload_of(data)["top"][0]
    assert top["ap"] == [0.9411, 0.4] and top["above"] == [1, 0]
    assert top["low"] == [0.9123, None] and top["high"] == [0.9501, None]
    assert top["held_out"] == [0.8771, None] and top["on_p50"] == [None, None]


def test_units_have_their_best_concepts(make_data):
    data = make_data(6)
    units = payload_of(data)["units"]
    assert units["unit"] == sorted(
        {u for t in data.experts.values() for u in t["unit"]}
    )
    for unit, concepts, ap in zip(
        units["unit"], units["concepts"], units["ap"], strict=True
    ):
        best = np.sort(data.ap_CxU[:, unit])[::-1][:3]
        np.testing.assert_allclose(ap, best, atol=1e-4)
        np.testing.assert_allclose(data.ap_CxU[concepts, unit], best)


def test_sentences_marks_and_labels(make_data):
    data = make_data(2)
    shown = payload_of(data)
    first = data.sentences.excited[shown["units"]["unit"][0]]
    at = shown["units"]["sentences"][0]
    texts = data.sentences.texts
    assert [shown["sentences"][i] for i in at] == [
        texts[number] for number in first["sentence"].iloc[:5]
    ]
    assert shown["units"]["marks"][0] == [4, 8] * 5
    assert shown["units"]["responses"][0] == first["response"].tolist()[:5]
    positives, negatives = (np.cumsum(steps).tolist() for steps in shown["members"][0])
    assert positives == [0, 1, 3, 5, 6] and negatives == [2, 7]
    assert [shown["sentences"][i] for i in shown["top"][0]["missed"]] == [
        texts[number]
        for number in data.sentences.missed["sense/concept_0-1_04_00__"]["sentence"]
    ]
    assert shown["sentence_numbers"] == list(range(10, 18))


def test_own_sentences_and_counts_of_responses(make_data):
    data = make_data(3)
    shown = payload_of(data)
    units = shown["units"]
    assert any(units["own"]) and not all(units["own"])  # the very best units only
    for i, unit in enumerate(units["unit"]):
        own, spread = data.sentences.own.get(unit), data.sentences.spreads.get(unit)
        if own is None:
            assert units["own"][i] == [] and units["spreads"][i] is None
            continue
        numbers_ = [shown["sentence_numbers"][place] for place in units["own"][i]]
        assert numbers_ == own["sentence"].tolist()
        assert units["own_at"][i] == own["response"].tolist()
        assert units["own_rank"][i] == own["rank"].tolist()
        assert units["spreads"][i]["range"] == [-1.5, 9.5]
        assert units["spreads"][i]["counts"] == spread.counts.tolist()


def test_what_units_write(make_data):
    data = make_data(3)
    shown = payload_of(data)
    writes, units = shown["writes"], shown["units"]["unit"]
    assert writes["any"]
    for i, unit in enumerate(units):
        rows = data.writes[data.writes["unit"] == unit]
        texts = [writes["texts"][place] for place in writes["token"][i]]
        assert texts == rows["token"].tolist()
        np.testing.assert_allclose(writes["effect"][i], rows["effect"], rtol=5e-3)
        assert writes["deviations"][i] == rows["deviations"].tolist()
        site = data.units["site"][unit]
        assert bool(texts) == (site != "attn.c_attn")
        assert writes["sign"][i] == (unit % 3 - 1 if texts else 0)


def test_results_without_that_table(make_data):
    data = dataclasses.replace(make_data(2), writes=None)
    assert payload_of(data)["writes"] is None
    first = payload_of(data)["units"]["unit"][0]
    few = dataclasses.replace(make_data(2), writers=frozenset([first]))
    assert [of is None for of in payload_of(few)["writes"]["token"][:2]] == [
        False,
        True,
    ]
    empty = dataclasses.replace(data, writes=make_data(2).writes.iloc[:0])
    writes = payload_of(empty)["writes"]
    assert not writes["any"] and not any(writes["token"]) and writes["texts"] == []


def test_long_sentences_are_cut(make_data):
    shown = payload_of(make_data(1, sentences=["word " * 500]))
    assert len(shown["sentences"][0]) <= 40 and shown["sentences"][0].endswith("…")


def test_layers_and_shared_units(make_data):
    data = make_data(4, gamma=0.6)
    shown = payload_of(data)
    layers, sites = shown["layers"]["layers"], shown["layers"]["sites"]
    for c, (cells, counts) in enumerate(shown["layers"]["experts"]):
        expert_U = data.ap_CxU[c] >= np.float32(0.6)
        naive = data.units[expert_U].groupby(["layer", "site"]).size()
        found = {
            (layers[cell // len(sites)], sites[cell % len(sites)]): n
            for cell, n in zip(cells, counts, strict=True)
        }
        assert found == naive.to_dict()
    tops = [set(np.argsort(-ap_U, kind="stable")[:10]) for ap_U in data.ap_CxU]
    for a in range(4):
        assert shown["map"]["shared"][a] == [
            len(tops[a] & tops[b]) for b in range(a + 1)
        ]
    assert sorted(shown["map"]["order"]) == [0, 1, 2, 3]


def test_concept_without_units_or_sentences(make_data):
    data = make_data(2)
    data.experts.pop(data.concepts["concept"][0])
    data.sentences.missed.clear()
    shown = payload_of(data)
    assert shown["top"][0] == {"unit": [], "missed": []}
    assert shown["top"][1]["missed"] == []


def test_numbers_are_json():
    assert numbers(np.array([0.5, np.inf, np.nan, 2.0]), 3) == [0.5, None, None, 2]
    assert numbers(np.array([True, False]), 0) == [1, 0]


def test_limits_shrink_with_concepts_and_models():
    few, many, several = limits_for(34), limits_for(300), limits_for(30, 10)
    assert few.units == 50 and few.excited == 10
    assert many == several and 5 <= many.units < 20
    assert limits_for(2000).units == 4
