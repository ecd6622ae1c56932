"""From a result to a report's data; the result is a stand-in."""

from types import SimpleNamespace

import pandas as pd
import pytest

from expertjax.report import build

CAPTURE = {
    "family": "gpt2", "num_layers": 3, "num_units": 480, "num_sentences": 9,
    "seq_len": 16, "num_dropped": 0, "num_truncated": 0, "pooling": "max",
    "special_tokens": "exclude", "compute_dtype": "float32",
    "store_dtype": "float32", "sites": "", "compat": "",
}  # fmt: skip


def make_expertise(data, holdout, keeps_responses=True):
    """What `report_data` asks of an `Expertise`, holding these data."""
    folder = SimpleNamespace(
        name=data.model_name,
        keeps_responses=keeps_responses,
        read_run=lambda: {"capture": CAPTURE, "score": {"holdout": holdout}},
        read_table={
            "memberships": pd.DataFrame(columns=["concept", "sentence", "label"])
        }.__getitem__,
    )
    return SimpleNamespace(
        folder=folder,
        units=data.units,
        concepts=data.concepts,
        null=data.null,
        metric={"ap": data.ap_CxU}.__getitem__,
        top=lambda key, k: data.experts[key].head(k),
        most_exciting=lambda units, k: {},
        excited=pd.DataFrame({"unit": []}),
    )


@pytest.mark.parametrize(
    ("holdout", "share"), [(0.0, None), (0.3, "30%"), (0.07, "7%"), (0.125, "12.5%")]
)
def test_facts_say_what_was_held_out(make_data, holdout, share):
    facts = build.report_data(make_expertise(make_data(), holdout), 0.9).facts
    said = share and f"{share} of each concept's sentences"
    assert facts.get("Held out") == said


def test_without_responses_no_sentences_are_shown(make_data):
    built = build.report_data(make_expertise(make_data(), 0.0, False), 0.9)
    assert built.facts["Stored in"].startswith("not kept")
    assert all(not units for units in built.excited.values())


def test_null_and_columns_of_top_units_are_handed_on(make_data):
    data = make_data()
    for table in data.experts.values():
        table["ap_heldout"] = 0.5
    built = build.report_data(make_expertise(data, 0.3), 0.9)
    assert built.null is data.null and built.has_held_out
    for key, table in built.experts.items():
        pd.testing.assert_frame_equal(table, data.experts[key].head(build.TOP_UNITS))
