"""Concepts are called as people call them, and found by what people say."""

import itertools
import re
from pathlib import PurePosixPath

import pytest

from expertjax.building.inventory import concept_name
from expertjax.concepts.names import file_names, find_concept, short_name, short_names
from expertjax.errors import InputError

BANK = ["sense/bank-1_14_00__", "sense/bank-1_17_01__"]
KEYS = [
    *BANK, "sense/bird-1_05_00__", "mine/bird", "homograph/dog-1_05_00__", "mine/cat",
    "sense/musical_instrument-1_06_00__", "mine/my_concept",
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("sense/bird-1_05_00__", "bird"),
        ("sense/musical_instrument-1_06_00__", "musical instrument"),
        ("sense/e-mail-1_10_00__", "e-mail"),
        ("sense/able-5_00_00_capable_00", "able"),
        ("homograph/bank-1_14_00__", "bank"),
        (f"sense/{concept_name('good%5:00:00:well-known:02')}", "good"),
        # No senses, and therefore as they are.
        ("mine/my_concept", "my_concept"),
        ("mine/covid-19", "covid-19"),
        ("mine/x-1_05_00", "x-1_05_00"),
        ("mine/bird-9_05_00__", "bird-9_05_00__"),
        ("bare", "bare"),
        ("mine/नदी", "नदी"),
    ],
)
def test_the_word_of_a_sense_is_its_name(key: str, name: str) -> None:
    assert short_name(key) == name
    assert short_names([key]) == [name]


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (BANK, ["bank (1:14:00)", "bank (1:17:01)"]),
        (["sense/dog-1_05_00__", "topic/dog"], ["dog (sense)", "dog (topic)"]),
        (["sense/dog-1_05_00__", "sense/dog"], ["dog (1:05:00)", "dog"]),
        (
            [*BANK, "homograph/bank-1_14_00__"],
            [
                "bank (sense 1:14:00)",
                "bank (sense 1:17:01)",
                "bank (homograph 1:14:00)",
            ],
        ),
        # A name that is as long as what tells others apart: all keep their keys.
        ([*BANK, "mine/bank (1:14:00)"], [*BANK, "mine/bank (1:14:00)"]),
    ],
)
def test_enough_is_added_to_tell_concepts_apart(keys, names) -> None:
    assert short_names(keys) == names
    for order in itertools.permutations(range(len(keys))):
        assert short_names([keys[i] for i in order]) == [names[i] for i in order]


@pytest.mark.parametrize(
    ("said", "key"),
    [
        *((key, key) for key in KEYS),
        ("bank (1:17:01)", BANK[1]),
        ("bank-1_14_00__", BANK[0]),
        ("bird (sense)", "sense/bird-1_05_00__"),
        ("bird", "mine/bird"),  # an exact name goes before a short one
        ("dog", "homograph/dog-1_05_00__"),
        ("musical instrument", "sense/musical_instrument-1_06_00__"),
        ("musical_instrument", "sense/musical_instrument-1_06_00__"),
        ("my_concept", "mine/my_concept"),
    ],
)
def test_what_is_unambiguous_is_found(said: str, key: str) -> None:
    assert find_concept(said, KEYS) == key


def test_names_as_shown_are_found() -> None:
    assert [find_concept(name, KEYS) for name in short_names(KEYS)] == KEYS


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("bank", f"concept 'bank' in out may be any of {', '.join(BANK)}; name one"),
        ("brid", "no concept 'brid' in out; nearest: bird (sense), bird (mine)"),
        ("Musical_Instruments", "nearest: musical instrument"),
        ("bnak", "nearest: bank (1:14:00), bank (1:17:01)"),
        ("sense/dog-1_05_00__", "nearest: bird (sense), dog, "),
        ("qqqqqqqq", f"no concept 'qqqqqqqq' in out; e.g. {', '.join(KEYS[:3])}"),
        ("", "no concept '' in out; e.g. "),
    ],
)
def test_candidates_are_named(said: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        find_concept(said, KEYS, " in out")


def test_several_of_one_name_in_two_groups() -> None:
    with pytest.raises(InputError, match=r"may be any of a/cat, b/cat; name one"):
        find_concept("cat", ["a/cat", "b/cat"])


def test_files_stay_in_their_folder_and_differ() -> None:
    keys = [
        "a/../../etc/passwd", "a/..", "a/", "a/***", "a/!!!", "a/Paris", "b/paris",
        "a/caf\u00e9", "b/cafe\u0301", "a/con", "a/x y:z*?", "a/नदी", f"a/{'é' * 300}",
        f"b/{'é' * 300}", *BANK, "sense/musical_instrument-1_06_00__",
    ]  # fmt: skip
    files = file_names(keys)
    assert files[-3:] == ["bank_1_14_00", "bank_1_17_01", "musical_instrument"]
    assert files[0] == "etc_passwd"
    assert len({file.casefold() for file in files}) == len(keys)
    for file in files:
        assert PurePosixPath(file).parts == (file,) and "." not in file
        assert 0 < len(f"ap_concept-{file}.png".encode()) < 255
    assert file_names(keys) == files
