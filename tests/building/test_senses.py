"""Which sentences contain a sense, and which may not be its negatives."""

from pathlib import Path

import pytest

from expertjax.building.drafts import Draft
from expertjax.building.homographs import find_homographs
from expertjax.building.inventory import FlatInventory, WordNetInventory
from expertjax.building.morphology import base_forms
from expertjax.building.senses import find_senses
from expertjax.building.settings import BuildSettings
from expertjax.building.tagged import Corpus, Word, index_sentences
from expertjax.building.wordnet import read_wordnet

BIRD, CROW, FISH = "bird%1:05:00::", "crow%1:05:00::", "fish%1:05:00::"
PENGUIN, LAMP = "penguin%1:05:00::", "lamp%1:06:00::"
WIDE = BuildSettings(min_positives=1, min_words=1, hyponyms=True)


def _sentences(*rows: list[Word]) -> Corpus:
    """Sentence n begins with the word s<n>, which tells it from the others."""
    numbered = [[Word(f"s{at}"), *row] for at, row in enumerate(rows)]
    corpus = index_sentences(numbered, WIDE)
    assert [text.split()[0] for text in corpus.texts] == [
        f"s{at}" for at in range(len(rows))
    ]
    return corpus


def _of(drafts: list[Draft], name: str) -> Draft:
    return next(draft for draft in drafts if draft.name == name)


@pytest.fixture
def birds() -> Corpus:
    return _sentences(
        [Word("crows", "n", (CROW,))],  # 0
        [Word("bird", "n", (BIRD,))],  # 1
        [Word("lamp", "n", (LAMP,))],  # 2
        [Word("crow", "n", (CROW, LAMP))],  # 3: one of the two
        [Word("crow", "n", (CROW, PENGUIN))],  # 4: a bird either way
        [Word("birds", "n")],  # 5: without a sense
        [Word("bird", "n", ("bird%1:99:00::",))],  # 6: a sense nobody knows
        [Word("bird", "v")],  # 7: no noun
        [Word("Old_Bird_Inn", "n", name=LAMP)],  # 8: in a name
        [Word("trout", "n", ("trout%1:05:00::",))],  # 9
    )


def test_hyponyms_count_and_doubt_bars(tiny_wordnet: Path, birds: Corpus):
    inventory = WordNetInventory(read_wordnet(tiny_wordnet))
    drafts = find_senses(birds, inventory, WIDE)
    bird = _of(drafts, "bird-1_05_00__")
    assert bird.positives.tolist() == [0, 1, 4]
    assert bird.barred.tolist() == [3, 5, 6, 8]
    assert bird.prominence == 1
    assert bird.words == ("bird",)
    assert bird.definition == "warm-blooded vertebrates with feathers; lay eggs"
    crow = _of(drafts, "crow-1_05_00__")
    assert crow.positives.tolist() == [0]
    assert crow.barred.tolist() == [3, 4]  # what may be a crow
    animal = _of(drafts, "animal-1_05_00__")
    assert animal.positives.tolist() == [0, 1, 4, 9]
    lamp = _of(drafts, "lamp-1_06_00__")
    assert (lamp.positives.tolist(), lamp.barred.tolist()) == ([2], [3, 8])


def test_direct_senses_keep_hyponyms_out(tiny_wordnet: Path, birds: Corpus):
    inventory = WordNetInventory(read_wordnet(tiny_wordnet))
    direct = BuildSettings(min_positives=1, min_words=1)
    bird = _of(find_senses(birds, inventory, direct), "bird-1_05_00__")
    assert bird.positives.tolist() == [1]
    assert bird.barred.tolist() == [0, 3, 4, 5, 6, 8]


def test_without_wordnet_a_key_stands_for_itself(birds: Corpus):
    flat = FlatInventory({key: 0 for senses in birds.tagged for key in senses})
    drafts = find_senses(birds, flat, BuildSettings(min_positives=1, min_words=1))
    bird = _of(drafts, "bird-1_05_00__")
    assert bird.positives.tolist() == [1]
    assert bird.barred.tolist() == [5, 8]


def test_parts_of_speech(birds: Corpus):
    flat = FlatInventory({key: 0 for senses in birds.tagged for key in senses})
    verbs = BuildSettings(min_positives=1, min_words=1, parts=("verb",))
    assert find_senses(birds, flat, verbs) == []


def test_homographs():
    bank, shore = "bank%1:14:00::", "bank%1:17:01::"
    corpus = _sentences(
        [Word("bank", "n", (bank,))],  # 0
        [Word("bank", "n", (shore,))],  # 1
        [Word("banks", "n", (shore,)), Word("bank", "n", (bank,))],  # 2: both
        [Word("bank", "n", (bank, shore))],  # 3: either
        [Word("bank", "n", (shore,)), Word("banks", "n")],  # 4: and one untagged
        [Word("lamp", "n", (LAMP,))],  # 5: another word
        [Word("bank", "v", ("bank%2:38:00::",))],  # 6: a verb
    )
    flat = FlatInventory({key: 0 for senses in corpus.tagged for key in senses})
    drafts = find_homographs(corpus, flat, WIDE)
    assert {draft.name for draft in drafts} == {"bank-1_14_00__", "bank-1_17_01__"}
    one = _of(drafts, "bank-1_14_00__")
    assert one.key == "homograph/bank-1_14_00__"
    assert one.positives.tolist() == [0, 2]
    assert one.negatives is not None and one.negatives.tolist() == [1]
    other = _of(drafts, "bank-1_17_01__")
    assert other.positives.tolist() == [1, 2, 4]
    assert other.negatives is not None and other.negatives.tolist() == [0]


def test_sentences_are_merged_and_filtered():
    words = [Word("a"), Word("crow", "n", (CROW,))]
    rows = [words, [Word("a"), Word("crow", "n")], [Word("**f"), Word("x")], words[:1]]
    corpus = index_sentences(rows, BuildSettings(min_words=2))
    assert corpus.texts == ["a crow"]
    assert list(corpus.tagged[(CROW,)]) == [0]
    assert list(corpus.untagged["crow", "n"]) == [0]
    assert sum(corpus.left_out.values()) == 3


def test_base_forms():
    assert "church" in base_forms("churches", "n", {})
    assert "city" in base_forms("cities", "n", {})
    assert "make" in base_forms("making", "v", {})
    assert base_forms("mice", "n", {("mice", "n"): ("mouse",)}) == ("mice", "mouse")
