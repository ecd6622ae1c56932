"""What is counted in sentences."""

import numpy as np
import pytest

from expertjax.concepts.form import FORMS, classes, forms, spoken, words


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ('Born in 1879, she said "No" to 3 kings.', (9, 5, 1, 4, 1, 2)),
        ("", (0, 0, 0, 0, 0, 0)),
        ("12345 is no year, nor is 999; 2099 is.", (9, 12, 1, 3, 0, 0)),
        ("the Élan of Ångström", (4, 0, 0, 0, 2, 0)),
        ("He wrote ``so'' twice", (4, 0, 0, 4, 0, 2)),
        ("«Нет», сказала Анна", (3, 0, 0, 3, 1, 2)),
    ],
)
def test_counts(text: str, counts: tuple[int, ...]):
    assert tuple(forms([text])[0]) == counts
    assert list(FORMS) == [
        "length", "digits", "years", "punctuation", "capitals", "quotes"
    ]  # fmt: skip


def test_only_what_is_asked_for_is_counted():
    assert forms(["In 1999"], ["years", "length"]).tolist() == [[1, 2]]
    assert forms(["a b"], []).shape == (1, 0)
    assert forms([]).shape == (0, 6)


def test_words_of_scripts_without_spaces_and_with_marks():
    assert words("Don't 日本 cafe\u0301s' end") == [
        "don't", "日", "本", "cafe\u0301s", "end"
    ]  # fmt: skip
    assert words(" ?! ") == ["?!"] and words("") == [""]


def test_classes_hold_about_as_many_each():
    values = np.random.default_rng(0).normal(size=1600)
    assert np.bincount(classes(values, 16)).tolist() == [100] * 16
    few = classes(np.array([0, 0, 0, 0, 1, 0, 7]), 16)
    assert len(set(few[[0, 1, 2, 3, 5]].tolist())) == 1
    assert len(set(few.tolist())) == 3
    assert classes(np.zeros(0), 16).shape == (0,)


@pytest.mark.parametrize(
    ("feature", "text"),
    [
        ("-tokens", "fewer tokens"),
        ("length", "more words"),
        ("-punctuation", "fewer punctuation marks"),
        ("quotes", "more quotation marks"),
        ("-first rare word", "an early first rare word"),
        ("word born", "the word born"),
        ("all form", "all counts together"),
    ],
)
def test_features_as_people_say_them(feature: str, text: str):
    assert spoken(feature) == text
