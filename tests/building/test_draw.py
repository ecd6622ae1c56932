"""Choosing concepts and drawing their sentences."""

import collections
import dataclasses

import numpy as np
import pytest

from expertjax.building.drafts import Draft, Drafts, choose, jaccards, prune
from expertjax.building.draw import draw_concepts
from expertjax.building.settings import BuildSettings
from expertjax.errors import InputError

SMALL = BuildSettings(
    min_positives=5, max_positives=10, num_negatives=20, negative_pool=40
)


def _rows(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def _draft(name: str, positives: np.ndarray, **more) -> Draft:
    return Draft("sense", name, np.asarray(positives, np.int32), **more)


def _set(num_texts: int = 400, num_concepts: int = 12) -> Drafts:
    random = np.random.default_rng(0)
    texts = [
        f"t{at} " + "w " * random.integers(3, 40) + "end" for at in range(num_texts)
    ]
    drafts = [
        _draft(f"c{at}", np.sort(random.choice(num_texts, 30 + at, replace=False)))
        for at in range(num_concepts)
    ]
    barred = [np.setdiff1d(np.arange(50), draft.positives) for draft in drafts]
    drafts = [
        dataclasses.replace(draft, barred=rows.astype(np.int32))
        for draft, rows in zip(drafts, barred, strict=True)
    ]
    return Drafts("test", texts, drafts, collections.Counter())


@pytest.mark.parametrize("negatives", ["shared", "own"])
def test_sizes_and_what_is_no_negative(negatives: str):
    drafts = _set()
    settings = dataclasses.replace(SMALL, negatives=negatives)
    concepts = draw_concepts(drafts.concepts, drafts.texts, settings)
    row_of = {text: row for row, text in enumerate(drafts.texts)}
    for draft, concept in zip(drafts.concepts, concepts, strict=True):
        assert len(concept.positives) == 10 and len(concept.negatives) == 20
        assert {row_of[text] for text in concept.positives} <= set(draft.positives)
        negative = {row_of[text] for text in concept.negatives}
        # Positives that were not drawn are no negatives either.
        assert not negative & (set(draft.positives) | set(draft.barred))
        assert len(negative) == 20
    assert concepts == draw_concepts(drafts.concepts, drafts.texts, settings)
    other = draw_concepts(
        drafts.concepts, drafts.texts, dataclasses.replace(settings, seed=1)
    )
    assert other != concepts


def test_shared_draws_need_fewer_sentences():
    drafts = _set(2000, 40)
    used = {}
    for negatives in ("shared", "own"):
        settings = dataclasses.replace(SMALL, negatives=negatives, match=())
        concepts = draw_concepts(drafts.concepts, drafts.texts, settings)
        used[negatives] = {t for one in concepts for t in one.positives + one.negatives}
        negative = {text for one in concepts for text in one.negatives}
        positive = {text for one in concepts for text in one.positives}
        if negatives == "shared":
            assert len(negative) <= 40
            assert negative <= positive  # the pool costs nothing here
    assert len(used["shared"]) < 0.6 * len(used["own"])


def test_the_pool_gives_way_where_it_is_too_small():
    drafts = _set(100, 1)
    settings = dataclasses.replace(
        SMALL, num_negatives=30, min_negatives=30, negative_pool=30
    )
    (concept,) = draw_concepts(drafts.concepts, drafts.texts, settings)
    assert len(concept.negatives) == 30


def test_lengths_are_matched():
    texts = [f"t{at} " + "w " * (at // 40) for at in range(2000)]
    long = _draft("long", np.arange(1500, 1600))
    settings = BuildSettings(num_negatives=100, min_positives=5)
    means = {}
    for matched in (("length",), ()):
        one = dataclasses.replace(settings, match=matched, negatives="own")
        (concept,) = draw_concepts([long], texts, one)
        means[matched] = np.mean([len(text.split()) for text in concept.negatives])
    assert abs(means[("length",)] - 39.7) < 3
    assert means[()] < 30


def test_tasks_are_balanced_and_apart():
    drafts = _set()
    settings = dataclasses.replace(SMALL, tasks_share=0.25)
    rest, tasks = choose(drafts, settings)
    assert (len(rest), len(tasks)) == (9, 3)
    assert not {one.key for one in rest} & {one.key for one in tasks}
    for concept in draw_concepts(tasks, drafts.texts, settings, balanced=True):
        assert len(concept.positives) == len(concept.negatives) == 10
    few = [dataclasses.replace(tasks[0], negatives=_rows(60, 61, 62))]
    (concept,) = draw_concepts(few, drafts.texts, settings, balanced=True)
    assert len(concept.positives) == len(concept.negatives) <= 3


def test_tasks_say_nothing_that_others_say():
    drafts = _set()
    twin = dataclasses.replace(drafts.concepts[3], group="homograph")
    drafts.concepts.append(twin)
    settings = dataclasses.replace(SMALL, tasks_share=11 / 13)
    _, tasks = choose(drafts, settings)
    assert len(tasks) == 11
    assert not {drafts.concepts[3].key, twin.key} & {one.key for one in tasks}
    with pytest.raises(InputError, match="11 are enough apart"):
        choose(drafts, dataclasses.replace(SMALL, tasks_share=12 / 13))


def test_given_sentences_stay_as_they_were_given():
    texts = [f"text {at}" for at in range(9)]
    draft = _draft("c", _rows(5, 2), negatives=_rows(8, 1, 5, 3))
    (concept,) = draw_concepts([draft], texts, SMALL)
    assert concept.positives == ("text 5", "text 2")
    assert concept.negatives == ("text 8", "text 1", "text 3")


def test_of_two_alike_the_one_that_people_name_is_kept():
    rows = np.arange(20)
    chordate = _draft("chordate", rows, prominence=2)
    vertebrate = _draft("vertebrate", rows[:19], prominence=9)
    apart = _draft("apart", np.arange(15, 30))
    homograph = dataclasses.replace(chordate, group="homograph")
    drafts = [chordate, vertebrate, apart, homograph]
    assert prune(drafts, 40, 0.9) == [vertebrate, apart, homograph]
    assert prune(drafts, 40, 0.96) == drafts
    equal = [dataclasses.replace(one, prominence=0) for one in drafts[:2]]
    assert prune(equal, 40, 0.9) == equal[1:]  # the narrower
    expected = [[1.0, 0.95], [0.95, 1.0]]
    np.testing.assert_allclose(jaccards(drafts[:2], 40), expected)


def test_what_is_left_out_is_counted():
    drafts = _set()
    drafts.concepts += [
        _draft("few", _rows(1, 2)),
        _draft("wide", np.arange(300)),
        _draft("no_negatives", np.arange(10, 30), negatives=_rows(11)),
    ]
    settings = dataclasses.replace(SMALL, max_share=0.5, num_concepts=7)
    rest, tasks = choose(drafts, settings)
    assert (len(rest), tasks) == (7, [])
    left_out = {what: number for what, number in drafts.left_out.items() if number}
    assert left_out == {
        "concepts with under 5 positives": 1,
        "concepts in over 0.5 of all sentences": 1,
        "concepts with under 1 negatives": 1,
        "concepts not drawn (--num_concepts)": 5,
    }


def test_too_few_concepts():
    with pytest.raises(InputError, match="12 concepts are there"):
        choose(_set(), dataclasses.replace(SMALL, num_concepts=13))
    with pytest.raises(InputError, match="0 concepts are there"):
        choose(_set(), dataclasses.replace(SMALL, min_positives=100, max_positives=200))


def test_years_are_matched_from_beyond_the_pool():
    """The pool, other concepts' positives, has no years; other sentences have."""
    texts = [f"t{at} in {1500 + at}" for at in range(300)]
    texts += [f"t{at} in mind" for at in range(300, 900)]
    drafts = [_draft("dated", np.arange(100)), _draft("plain", np.arange(300, 400))]
    settings = BuildSettings(
        min_positives=5, num_negatives=100, negative_pool=200, match=("years",)
    )
    dated, plain = draw_concepts(drafts, texts, settings)
    assert all(" in 1" in text for text in dated.negatives)
    assert len(dated.negatives) == 100
    assert not any(" in 1" in text for text in plain.negatives)
    unmatched = dataclasses.replace(settings, match=())
    dated, _ = draw_concepts(drafts, texts, unmatched)
    assert sum(" in 1" in text for text in dated.negatives) < 20


def test_unknown_features_are_refused():
    with pytest.raises(InputError, match="--match=colour: expected of length, digits"):
        BuildSettings(match=("colour",))
