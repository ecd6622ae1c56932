"""What the form of a sentence says by itself: lengths, digits, capitals, quotes.

A concept whose positives hold more years than its negatives is found by units that
know years. So negatives can be drawn alike (`draw`), and results are set beside what
the form alone reaches (`scoring.surface`).
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

# Runs of letters, digits and marks, with apostrophes inside; of scripts that put no
# spaces between words (Chinese characters, kana) each character.
_APART = r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
_RUN = rf"(?:(?!{_APART})[\w\u0300-\u036f])+"
WORD = re.compile(rf"{_APART}|{_RUN}(?:['’]{_RUN})*")
_DIGIT = re.compile(r"\d")
_YEAR = re.compile(r"(?<!\d)(?:1\d|20)\d\d(?!\d)")
_MARK = re.compile(r"[^\w\s]")
_QUOTE = re.compile(r"[\"“”„«»「」]|``|''")


def words(text: str) -> list[str]:
    """The words of a text, in lower case; all of a text that has none is one."""
    return WORD.findall(text.lower()) or [text.strip()]


def _capitals(text: str) -> int:
    """Words that begin with a capital; the first one always may."""
    return sum(word[0].isupper() for word in WORD.findall(text)[1:])


FORMS: dict[str, Callable[[str], int]] = {
    "length": lambda text: len(text.split()),
    "digits": lambda text: len(_DIGIT.findall(text)),
    "years": lambda text: len(_YEAR.findall(text)),
    "punctuation": lambda text: len(_MARK.findall(text)),
    "capitals": _capitals,
    "quotes": lambda text: len(_QUOTE.findall(text)),
}
"""Feature -> its number in a text: words, digits, numbers from 1000 to 2099, marks,
words that begin with a capital (the first left out), quotation marks. Length counts
what spaces part."""

FORM = ("tokens", *FORMS, "first rare word")
"""What results call the features of form; after a minus where fewer, or earlier, means
the concept."""

# Features that are chosen or fitted for a concept.
WORD_IS, ALL_FORM, ALL_WORDS = "word ", "all form", "all words"

# Of these a sentence may have none.
MAY_LACK = ("digits", "years", "punctuation", "capitals", "quotes")
_NAMES = {  # as people say it
    "length": "words",
    "quotes": "quotation marks",
    "punctuation": "punctuation marks",
}


def forms(texts: Sequence[str], names: Sequence[str] = tuple(FORMS)) -> np.ndarray:
    """The features of texts.

    Args:
      texts: [N].
      names: in `FORMS`.

    Returns:
      [N, F] int32.
    """
    rows = [[FORMS[name](text) for name in names] for text in texts]
    return np.array(rows, np.int32).reshape(len(rows), len(names))


def classes(values_N: np.ndarray, most: int) -> np.ndarray:
    """[N] the number of each value's class, of which all hold about as many values.

    Args:
      values_N: equal ones share a class.
      most: number of classes at most.
    """
    if not len(values_N):
        return np.zeros(0, np.int64)
    inner = np.arange(1, most) / most
    return np.searchsorted(np.unique(np.quantile(values_N, inner)), values_N)


def spoken(feature: str) -> str:
    """A feature as people say it: "more years", "the word born"."""
    if feature.startswith(WORD_IS):
        return f"the word {feature.removeprefix(WORD_IS)}"
    if feature in (ALL_FORM, ALL_WORDS):
        return f"all {'counts' if feature == ALL_FORM else 'words'} together"
    name = feature.removeprefix("-")
    few = name != feature
    if name == "first rare word":
        return f"{'an early' if few else 'a late'} first rare word"
    return f"{'fewer' if few else 'more'} {_NAMES.get(name, name)}"


def of_form(form: str) -> str:
    """What a feature of form counts: "years", "the number of tokens"."""
    if form == "first rare word":
        return "the place of the first rare word"
    name = _NAMES.get(form, form)
    return name if form in MAY_LACK else f"the number of {name}"


def kind(feature: str) -> str:
    """Whether a feature is of the sentences' form or of their words."""
    return "words" if feature.startswith(WORD_IS) or feature == ALL_WORDS else "form"
