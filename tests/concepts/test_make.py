from pathlib import Path
from typing import Any

import numpy as np
import pytest

import expertjax as ej
from tests.concepts.test_files import SENTENCES, write_folder

POSITIVES, NEGATIVES = SENTENCES["positive"], SENTENCES["negative"]


def test_lists_give_what_the_same_folder_gives(tmp_path: Path):
    typed = ej.make_concepts(
        {key: (POSITIVES, tuple(NEGATIVES)) for key in ("mine/crow", "sense/jay")}
    )
    read = ej.load_concepts(write_folder(tmp_path, "mine/crow", "sense/jay"))
    assert (typed.keys, typed.sentences) == (read.keys, read.sentences)
    for ours, theirs in zip(typed.members, read.members, strict=True):
        np.testing.assert_array_equal(ours.sentence, theirs.sentence)
        np.testing.assert_array_equal(ours.label, theirs.label)


def test_no_more_than_num_per_concept_are_drawn():
    many = [f"Sentence {i}." for i in range(30)], ["Rain.", "Snow."]
    typed = ej.make_concepts({"mine/crow": many}, num_per_concept=5)
    assert (typed.members[0].num_positives, typed.members[0].num_negatives) == (5, 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "no concept is given"),
        ({"crow": (["A."], ["B."])}, "'crow': expected group/name"),
        ({"../crow": (["A."], ["B."])}, "group '..' is no valid name"),
        ({"a/b/c": (["A."], ["B."])}, "concept 'b/c' is no valid name"),
        ({"mine/crow": ["A.", "B.", "C."]}, "expected two lists"),
        ({"mine/crow": "A."}, "expected two lists"),
        ({"mine/crow": ("A crow.", ["B."])}, "positives should be a list"),
        ({"mine/crow": (["A."], [])}, "negatives should be a list and not empty"),
        ({"mine/crow": (["A.", " "], ["B."])}, "positives[1] is ' '"),
        ({"mine/crow": (["A."], ["B.", 3])}, "negatives[1] is 3"),
        (
            {"mine/crow": (["A crow."], ["B.", "A  crow. "])},
            "mine/crow: 'A crow.' is listed as positive and as negative",
        ),
    ],
)
def test_what_cannot_be_used_is_named(given: Any, expected: str):
    with pytest.raises(ej.InputError) as caught:
        ej.make_concepts(given)
    assert expected in str(caught.value)


def test_all_problems_are_told_together():
    with pytest.raises(ej.InputError) as caught:
        ej.make_concepts({"crow": ([], []), "mine/jay": ([""], []), "mine/daw": ()})
    for key in ("'crow'", "'mine/jay'", "'mine/daw'"):
        assert key in str(caught.value)
