"""Groups from a tiny WordNet, and from the real one where it is installed."""

from pathlib import Path

import pytest

from expertjax.building.wordnet import read_wordnet
from expertjax.building.wordnet_groups import (
    LEXICOGRAPHER_FILES,
    sense_key_of,
    wordnet_groups,
)
from expertjax.errors import InputError


@pytest.mark.parametrize(
    ("concept", "key"),
    [
        ("sense/bird-1_05_00__", "bird%1:05:00::"),
        ("body_of_water-1_17_00__", "body_of_water%1:17:00::"),
        ("s/co-op-1_14_00__", "co-op%1:14:00::"),
        ("s/ardent-5_00_00_hot_00", "ardent%5:00:00:hot:00"),
        ("s/fire-5_00_00_red_hot_01", "fire%5:00:00:red_hot:01"),
        ("s/tiny-0", None),
        ("s/bird-1_05_0__", None),
    ],
)
def test_names_are_sense_keys(concept: str, key: str | None) -> None:
    assert sense_key_of(concept) == key


def test_there_are_45_lexicographer_files() -> None:
    assert len(LEXICOGRAPHER_FILES) == 45
    assert LEXICOGRAPHER_FILES[5] == "noun.animal"
    assert LEXICOGRAPHER_FILES[43] == "verb.weather"


def test_lexicographer_files(tiny_wordnet: Path) -> None:
    concepts = ["s/bird-1_05_00__", "s/tom-1_18_00__", "s/fly-2_38_00__", "s/x-1"]
    table = wordnet_groups(concepts, read_wordnet(tiny_wordnet))
    assert list(table.itertuples(index=False, name=None)) == [
        ("s/bird-1_05_00__", "noun.animal"),
        ("s/tom-1_18_00__", "noun.person"),
        ("s/fly-2_38_00__", "verb.motion"),
    ]


def test_hypernyms_at_a_depth(tiny_wordnet: Path) -> None:
    """animal > bird, fish; both > penguin; bird > raptor > eagle, Tom (instance)."""
    wordnet = read_wordnet(tiny_wordnet)
    names = ("animal", "bird", "penguin", "eagle", "chair")
    concepts = [f"s/{name}-1_0{5 + (name == 'chair')}_00__" for name in names]
    concepts.append("s/tom-1_18_00__")

    def groups(depth: int) -> dict[str, set[str]]:
        table = wordnet_groups(concepts, wordnet, depth)
        assert not table.duplicated().any()
        sets = table.groupby("concept")["group"].apply(set).to_dict()
        cut = {key[2:].partition("-")[0]: value for key, value in sets.items()}
        return {k: {g.removesuffix("-1_05_00__") for g in v} for k, v in cut.items()}

    assert groups(1) == {
        "bird": {"bird"},
        "penguin": {"bird", "fish"},
        "eagle": {"bird"},
        "tom": {"bird"},
    }
    assert groups(3) == {"eagle": {"eagle"}, "tom": {"tom-1_18_00__"}}


def test_the_shortest_way_counts(real_wordnet: Path) -> None:
    """An animal (6) is above dogs as domestic animals (7), and as vertebrates (8)."""
    table = wordnet_groups(["sense/dog-1_05_00__"], read_wordnet(real_wordnet), 8)
    assert set(table["group"]) == {"dog-1_05_00__", "vertebrate-1_05_00__"}


def test_nothing_to_group(tiny_wordnet: Path) -> None:
    wordnet = read_wordnet(tiny_wordnet)
    with pytest.raises(InputError, match="of 1 names, 0 are sense keys"):
        wordnet_groups(["sense/tiny"], wordnet)
    with pytest.raises(InputError, match="none stands 40 steps below the top"):
        wordnet_groups(["sense/bird-1_05_00__"], wordnet, 40)
