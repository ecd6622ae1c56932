"""Joins Penn-style tokens into written sentences.

The treebank's conventions, which SemCor and the corpora of word sense evaluation
share: `` and '' for quotation marks, clitics cut off (`do n't`), punctuation apart,
multiwords joined by underscores (`took_place`).
"""

import re
from collections.abc import Sequence

_CLITIC = re.compile(r"(?:n't|'(?:s|d|m|ll|re|ve|em))(?![a-z])", re.IGNORECASE)
# 'em and 'tis stand alone, although they begin like clitics.
_APART = frozenset(["'em", "'tis", "'twas", "'til", "'cause"])
_CLOSING = frozenset([",", ".", ";", ":", "!", "?", ")", "]", "}", "%", "..."])
_OPENING = frozenset(["(", "[", "{", "$", "#"])
_DOUBLED = frozenset([",", ";", "?", "!"])  # slips of the Brown corpus
_BRACKETS = {
    "-LRB-": "(",
    "-RRB-": ")",
    "-LSB-": "[",
    "-RSB-": "]",
    "-LCB-": "{",
    "-RCB-": "}",
}
# What the Brown corpus writes in place of formulas and letters it could not print.
_PLACEHOLDER = re.compile(r"[*|^\\]|(?:^|_)/_?\d")
# Marks after a closing quote: American print puts them before it.
_MARK_AFTER_QUOTE = re.compile(r"(?<=\w)([\"'])([,.?!])(?=[\"'\s]|$)")
_OPEN, _CLOSE = "``", "''"


def join_tokens(tokens: Sequence[str]) -> str:
    """The sentence that `tokens` were cut from, as well as that can be told.

    Args:
      tokens: word forms and marks, e.g. `` Do n't ! '' he took_off .
    """
    words = [part for token in tokens for part in _split(token)]
    text, glue, quotes = "", True, _Quotes()
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        if word == before and word in _DOUBLED:
            continue
        after = words[at + 1] if at + 1 < len(words) else ""
        shown, tight_left, tight_right = _place(word, before, after, quotes)
        text += shown if glue or tight_left else " " + shown
        glue = tight_right
    text = _MARK_AFTER_QUOTE.sub(r"\2\1", text)
    return _MARK_AFTER_QUOTE.sub(r"\2\1", text).strip()


def has_placeholder(tokens: Sequence[str]) -> bool:
    """Whether something of the text is missing: `**f` stands for a formula."""
    return any(_PLACEHOLDER.search(token) for token in tokens)


def _split(token: str) -> list[str]:
    """A multiword's words; marks inside it, as in O_'_Banion, stay where they are."""
    token = _BRACKETS.get(token, token)
    token = re.sub(r"_'_(?=[A-Z]|clock|nuff)", "'", token)
    return [part for part in re.split(r"[_\s]", token) if part]


class _Quotes:
    """Which quotation marks stand open."""

    def __init__(self) -> None:
        self.single = self.double = False


def _place(
    word: str, before: str, after: str, quotes: _Quotes
) -> tuple[str, bool, bool]:
    """(what is written, no space before it, no space after it)."""
    if word in (_OPEN, _CLOSE, '"'):
        opens = word == _OPEN or (word == '"' and not quotes.double)
        quotes.double = opens
        return '"', not opens, opens
    if word in ("`", "'"):
        return "'", *_single(word, before, after, quotes)
    if word in _CLOSING:
        return word, True, False
    if word in _OPENING:
        return word, False, True
    if word == "/":
        return word, True, True
    if word == "-":  # a hyphen after numbers, a dash between words
        tight = before[-1:].isdigit() and bool(after) and after[0].isalnum()
        return word, tight, tight
    clitic = bool(_CLITIC.fullmatch(word)) and word.lower() not in _APART
    return word, clitic, False


def _single(word: str, before: str, after: str, quotes: _Quotes) -> tuple[bool, bool]:
    if word == "`":
        quotes.single = True
        return False, True
    if quotes.single and before:
        # Inside quotes, boys' is taken for their end unless a word follows at once.
        owner = before[-1:] == "s" and after[:1].islower()
        quotes.single = owner
        return True, False
    if before[-1:] == "s":
        return True, False
    if after[:1].isdigit():  # '58
        return False, True
    if after and after[0].isalnum():
        quotes.single = True
        return False, True
    return True, False
