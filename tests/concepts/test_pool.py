import hashlib

import numpy as np
import pytest

from expertjax.concepts.files import Concept
from expertjax.concepts.pool import (
    ConceptSet,
    build_concept_set,
    sentence_digest,
)
from expertjax.errors import InputError


def concept(name: str, num_positives: int, num_negatives: int) -> Concept:
    positives = tuple(f"{name} {i}" for i in range(num_positives))
    negatives = tuple(f"not {name} {i}" for i in range(num_negatives))
    return Concept("sense", name, positives, negatives)


def labelled(concepts: ConceptSet, number: int) -> list[tuple[str, int]]:
    member = concepts.members[number]
    texts = [concepts.sentences[row] for row in member.sentence]
    return list(zip(texts, member.label.tolist(), strict=True))


@pytest.mark.parametrize("seed", [1234, 7])
@pytest.mark.parametrize(
    "sizes", [(30, 50), (30, 20), (20, 50), (10, 10), (20, 20), (21, 20), (1, 1)]
)
def test_draws_as_the_reference_does(sizes: tuple[int, int], seed: int):
    given = [concept("crow", *sizes), concept("rook", *sizes)]
    drawn = build_concept_set(given, num_per_concept=20, data_seed=seed)
    for number, one in enumerate(given):
        random = np.random.RandomState(seed)  # each concept begins afresh
        expected = []
        for label, texts in ((0, one.negatives), (1, one.positives)):
            if len(texts) > 20:
                chosen = random.choice(len(texts), 20, replace=False)
                texts = [texts[i] for i in chosen]
            expected += [(text, label) for text in texts]
        assert labelled(drawn, number) == expected


def test_a_shared_sentence_is_run_once():
    one = Concept("sense", "crow", ("a", "b"), ("c", "d"))
    two = Concept("sense", "rook", ("d", "b"), ("a", "e"))
    concepts = build_concept_set([one, two])
    assert sorted(concepts.sentences) == ["a", "b", "c", "d", "e"]
    assert set(labelled(concepts, 0)) == {("a", 1), ("b", 1), ("c", 0), ("d", 0)}
    assert set(labelled(concepts, 1)) == {("d", 1), ("b", 1), ("a", 0), ("e", 0)}


def test_a_sentence_that_is_listed_twice_counts_once():
    given = Concept("s", "crow", ("a", "b", "a", " a\n"), ("c  d", "e", "c d"))
    concepts = build_concept_set([given])
    assert sorted(concepts.sentences) == ["a", "b", "c  d", "e"]
    member = concepts.members[0]
    assert (member.num_positives, member.num_negatives) == (2, 2)
    assert concepts.num_repeated == 3
    assert concepts.keep(np.arange(4)).num_repeated == 3
    expected = [("a", 1), ("b", 1), ("c  d", 0), ("e", 0)]
    assert sorted(labelled(concepts, 0)) == expected


@pytest.mark.parametrize("times", [1, 20])
def test_what_is_drawn_does_not_depend_on_repetitions(times: int):
    once = concept("crow", 30, 50)
    given = Concept("sense", "crow", once.positives * times, once.negatives * times)
    drawn, wanted = (build_concept_set([one], 20) for one in (given, once))
    assert labelled(drawn, 0) == labelled(wanted, 0)


@pytest.mark.parametrize("num", [4, 1000])
def test_as_listed_draws_from_the_lists_with_what_they_repeat(num: int):
    """The reference's: how long a list is decides what is drawn from it."""
    given = Concept("s", "crow", ("a", "a", "b", "c", "d"), ("e", "e", "e", "f", "a"))
    concepts = build_concept_set([given], num, as_listed=True)
    random, expected = np.random.RandomState(1234), []
    for label, texts in ((0, given.negatives), (1, given.positives)):
        chosen = random.choice(5, num, replace=False) if num < 5 else range(5)
        expected += [(texts[i], label) for i in chosen]
    assert labelled(concepts, 0) == expected
    assert concepts.num_repeated == 0


def test_a_sentence_under_both_labels_is_refused():
    sound = Concept("s", "jay", ("a", "b"), ("c",))
    one = Concept("s", "crow", ("a", "b  x", "a"), ("c", "a"))
    two = Concept("s", "rook", ("d",), ("b", " d\t"))
    with pytest.raises(InputError) as caught:
        build_concept_set([one, sound, two])
    assert str(caught.value).split("\n  - ")[1:] == [
        "s/crow: 'a' is listed as positive and as negative",
        "s/rook: 'd' is listed as positive and as negative",
    ]
    assert "white space makes no difference" in str(caught.value)
    # Also where it would not be drawn.
    with pytest.raises(InputError, match="s/rook: 'd'"):
        build_concept_set([two], num_per_concept=1)


def test_what_was_repeated_is_said_in_one_line(caplog: pytest.LogCaptureFixture):
    given = [Concept("s", f"c{i}", ("a",) * (i + 1), ("b",)) for i in range(8)]
    with caplog.at_level("WARNING", "absl"):
        build_concept_set(given)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "28 sentence(s) are listed more than once by their concept and count once: "
        "s/c7 7, s/c6 6, s/c5 5, s/c4 4, s/c3 3 and 2 concepts more"
    )


def test_at_least_one_sentence_has_to_be_drawn():
    with pytest.raises(InputError, match="--num_per_concept"):
        build_concept_set([concept("crow", 2, 2)], num_per_concept=0)


def test_keep_reorders_without_changing_who_is_labelled_how():
    given = [concept("crow", 5, 9), concept("rook", 8, 3)]
    concepts = build_concept_set(given)
    rows = np.random.default_rng(0).permutation(len(concepts.sentences))
    kept = concepts.keep(rows)
    assert kept.sentences == tuple(concepts.sentences[row] for row in rows)
    assert kept.keys == concepts.keys
    for number in range(2):
        assert labelled(kept, number) == labelled(concepts, number)


def test_keep_drops_sentences_from_every_concept():
    one = Concept("s", "crow", ("a", "b"), ("c", "d"))
    two = Concept("s", "rook", ("d", "b"), ("a", "c"))
    concepts = build_concept_set([one, two])
    left = [row for row, text in enumerate(concepts.sentences) if text != "b"]
    kept = concepts.keep(np.array(left))
    assert "b" not in kept.sentences
    assert sorted(labelled(kept, 0)) == [("a", 1), ("c", 0), ("d", 0)]
    assert sorted(labelled(kept, 1)) == [("a", 0), ("c", 0), ("d", 1)]


def test_keep_names_every_concept_that_loses_a_side():
    one = Concept("s", "crow", ("a",), ("b", "c"))
    two = Concept("s", "rook", ("b",), ("a",))
    three = Concept("s", "jay", ("b", "d"), ("c",))
    concepts = build_concept_set([one, two, three])
    left = [row for row, text in enumerate(concepts.sentences) if text != "a"]
    with pytest.raises(InputError) as caught:
        concepts.keep(np.array(left))
    message = str(caught.value)
    assert "s/crow has no positive left" in message
    assert "s/rook has no negative left" in message
    assert "s/jay" not in message


def test_the_digest_is_that_of_the_utf8_text():
    expected = hashlib.sha256("Ærø 犬".encode()).hexdigest()
    assert sentence_digest("Ærø 犬") == expected
