"""A corpus of sense-tagged sentences: each sentence once, and where which sense is.

All that is kept beside the sentences is, for each tag, the numbers of the sentences
that have it.
"""

import collections
import dataclasses
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from expertjax.building.inventory import part_of
from expertjax.building.penn import has_placeholder, join_tokens
from expertjax.building.settings import BuildSettings


class Word(NamedTuple):
    """A token of a tagged sentence.

    Attributes:
      form: as it stands in the text; multiwords are joined by underscores.
      part: letters of the parts of speech that it may have, of n, v, a, r; "" for
        whatever has no senses.
      senses: sense keys of which each may be meant; none where nobody told.
      lemma: the dictionary's form, or "" where nobody told.
      name: the sense key of the class of a proper name (`person%1:03:00::`).
    """

    form: str
    part: str = ""
    senses: tuple[str, ...] = ()
    lemma: str = ""
    name: str = ""


Sentence = list[Word]


@dataclasses.dataclass
class Corpus:
    """Distinct sentences, and sentence numbers by what they contain.

    Attributes:
      texts: the sentences.
      tagged: (sense keys that a word may have) -> sentences.
      untagged: (form in small letters, part of speech) -> sentences where that word
        has no sense, whatever it means there.
      names: sense key of a name's class -> sentences with such a name.
      left_out: what was left out or merged -> how often.
    """

    texts: list[str]
    tagged: dict[tuple[str, ...], array]
    untagged: dict[tuple[str, str], array]
    names: dict[str, array]
    left_out: collections.Counter[str]

    def of_parts(
        self, settings: BuildSettings
    ) -> Iterator[tuple[tuple[str, ...], Sequence[int]]]:
        """(sense keys, sentences) of the parts of speech that are asked for."""
        for senses, rows in self.tagged.items():
            if part_of(senses[0]) in settings.part_letters:
                yield senses, rows


def index_sentences(sentences: Iterable[Sentence], settings: BuildSettings) -> Corpus:
    """Joins, filters and indexes `sentences`, in one pass.

    A sentence that occurs several times is one sentence with the tags of all.
    """
    number_of: dict[str, int] = {}
    tagged: dict[tuple[str, ...], array] = collections.defaultdict(_rows)
    untagged: dict[tuple[str, str], array] = collections.defaultdict(_rows)
    names: dict[str, array] = collections.defaultdict(_rows)
    left_out: collections.Counter[str] = collections.Counter()
    for words in sentences:
        forms = [word.form for word in words]
        if has_placeholder(forms):
            left_out["sentences with a gap where a formula was"] += 1
            continue
        text = join_tokens(forms)
        if problem := settings.fits(text):
            left_out[problem] += 1
            continue
        if text in number_of:
            left_out["sentences that occurred before (merged)"] += 1
        number = number_of.setdefault(text, len(number_of))
        for word in words:
            if word.senses:
                tagged[word.senses].append(number)
            if word.name:
                names[word.name].append(number)
            for key in _untagged(word):
                untagged[key].append(number)
    return Corpus(list(number_of), dict(tagged), dict(untagged), dict(names), left_out)


def _untagged(word: Word) -> Iterable[tuple[str, str]]:
    """What may hide a sense: words without one, and the words inside of names."""
    if word.senses:
        return
    whole = (word.lemma or word.form).lower()
    for part in word.part:
        yield whole, part
    parts = word.form.lower().split("_")
    if len(parts) > 1 and word.part:
        for part in parts:
            yield part, "n"


def _rows() -> array:
    return array("i")
