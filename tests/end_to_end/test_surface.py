"""The case that all this is for: is it the concept, or the year?"""

from pathlib import Path

import numpy as np
import pytest

import expertjax as ej
from expertjax.analysis.warnings import warnings
from expertjax.concepts.files import read_concepts
from expertjax.report.build import report_data
from expertjax.report.limits import limits_for
from expertjax.report.payload import model_payload


@pytest.fixture(scope="module")
def expertise(tmp_path_factory: pytest.TempPathFactory) -> ej.Expertise:
    """The model that ships, on trees, on mere years, and on two sentences each."""
    shipped = {c.key: c for c in read_concepts(Path(ej.EXAMPLE_CONCEPTS))}
    tree = shipped["sense/tree-1_20_00__"]
    half = len(tree.negatives) // 2
    dated = [f"{text[:-1]} (18{i % 90 + 10})." for i, text in enumerate(tree.negatives)]
    concepts = ej.make_concepts(
        {
            "sense/tree": (tree.positives[:100], tree.negatives[:150]),
            "planted/years": (dated[:half], tree.negatives[half:]),
            "mine/few": (tree.positives[:2], tree.negatives[:2]),
        }
    )
    model = ej.load_model(ej.EXAMPLE_MODEL)
    out = tmp_path_factory.mktemp("surface") / "m"
    return ej.score(ej.capture(model, concepts, out), concepts)


def test_years_are_flagged_and_trees_are_not(expertise: ej.Expertise):
    concepts = expertise.concepts.set_index("concept")
    assert concepts.loc["planted/years", "surface_ap"] > 0.99
    assert not concepts.loc["planted/years", "above_surface"]
    assert concepts.loc["planted/years", "form"] in ("years", "digits")
    tree = concepts.loc["sense/tree"]
    assert tree["above_surface"] and tree["n_above_surface"] >= 1
    assert tree["max_ap"] > tree["surface_high"] > tree["surface_ap"]
    top = expertise.top("sense/tree")
    beats = (top["ap"] > tree["surface_high"]).sum()
    assert top["above_surface"].sum() == beats == min(tree["n_above_surface"], 20)
    assert not expertise.top("planted/years")["above_surface"].any()


def test_few_sentences_make_no_expert(expertise: ej.Expertise):
    """Two of each gave thousands of units of AP 1; luck gives as many."""
    assert expertise.metric("ap", "mine/few").max() == 1
    assert len(expertise.experts("mine/few", 0.9)) == 0
    row = expertise.summary(0.9).set_index("concept").loc["mine/few"]
    assert row["AP >= 0.9"] == 0
    few, surface = warnings(expertise.concepts)
    assert few.startswith("1 concept has too few sentences") and "few (2 pos" in few
    assert surface.startswith("1 concept has no unit above the surface")
    assert "years (best unit" in surface and "tree" not in surface


def test_the_page_says_the_same(expertise: ej.Expertise):
    page = model_payload(report_data(expertise, 0.8), limits_for(3), 50)
    assert page["warnings"] == warnings(expertise.concepts)
    surface = page["concepts"]["surface"]
    rows = expertise.concepts["concept"].tolist()
    years = rows.index("planted/years")
    assert surface["above"] == expertise.concepts["above_surface"].astype(int).tolist()
    assert len(surface["features"][years]) == 11
    best = max(ap for name, ap, _ in surface["features"][years] if "all w" not in name)
    assert np.isclose(best, surface["ap"][years], atol=1e-4)
    assert page["over"]["at"][0] == 1 + (
        expertise.concepts.set_index("concept").loc["sense/tree", "max_ap"] >= 0.8
    )
