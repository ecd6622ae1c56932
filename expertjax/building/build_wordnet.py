"""Builds *sense* concepts from WordNet: a topic is a synset with its hyponyms.

The gloss of a hyponym of *bird* describes a bird, so definitions and examples
of all of them are the positives of the topic. The defined words themselves are
left out: a concept should not be recognisable by its list of names alone.
Negatives are texts of other nouns that do not name the topic.
"""

import collections
import re
from collections.abc import Mapping, Sequence

import numpy as np

from expertjax.building.drafts import Draft, Drafts
from expertjax.building.inventory import concept_name
from expertjax.building.settings import BuildSettings
from expertjax.building.wordnet import WordNet
from expertjax.building.wordnet_topics import (
    Topic,
    choose_topics,
    named_topics,
    usable_texts,
)

_WORD = re.compile(r"\w+")


def find_topics(
    wordnet: WordNet, settings: BuildSettings, roots: Sequence[str] = ()
) -> Drafts:
    """Topics as drafts, over the texts of all nouns.

    Args:
      wordnet: the database.
      settings: how many texts a topic needs, and how long they may be.
      roots: sense keys such as `bird%1:05:00::`; none: every noun synset with enough
        texts, without those that nest too much.

    Raises:
      InputError: a root is unknown or given twice, or has too few texts; or no synset
        has `min_positives`.
    """
    if roots:
        topics = named_topics(wordnet, roots, settings)
    else:
        topics = choose_topics(wordnet, settings)
    nouns = (synset for synset in wordnet.synsets.values() if synset.part == "n")
    texts = [text for synset in nouns for text in usable_texts(synset, settings)]
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    rows_of_word: dict[str, list[int]] = {}
    for text, row in row_of.items():
        for word in set(_WORD.findall(text.lower())):
            rows_of_word.setdefault(word, []).append(row)
    drafts: list[Draft] = []
    texts = list(row_of)
    for topic in topics:
        positives = np.array([row_of[text] for text in topic.texts], np.int32)
        drafts.append(
            Draft(
                group="sense",
                name=concept_name(topic.sense_key),
                positives=positives,
                barred=np.setdiff1d(_naming(topic, texts, rows_of_word), positives),
                # Topics come narrow ones first, which are the more telling.
                prominence=-len(drafts),
                words=topic.root.lemmas,
                definition=topic.root.definition,
            )
        )
    return Drafts("wordnet", texts, drafts, collections.Counter())


def _naming(
    topic: Topic, texts: Sequence[str], rows_of_word: Mapping[str, Sequence[int]]
) -> np.ndarray:
    """Rows of the texts that name the topic."""
    named = _names(topic)
    rows = {
        row
        for lemma in topic.root.lemmas
        for start in _WORD.findall(lemma.lower())[:1]
        for word in (start, f"{start}s", f"{start}es")
        for row in rows_of_word.get(word, ())
    }
    return np.array(sorted(row for row in rows if named.search(texts[row])), np.int32)


def _names(topic: Topic) -> re.Pattern[str]:
    words = "|".join(re.escape(lemma) for lemma in topic.root.lemmas)
    return re.compile(rf"\b(?:{words})(?:s|es)?\b", re.IGNORECASE)
