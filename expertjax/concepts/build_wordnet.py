"""Builds *sense* concepts from WordNet: a topic is a synset with its hyponyms.

The gloss of a hyponym of *bird* describes a bird, so definitions and examples
of all of them are the positives of the topic. The defined words themselves are
left out: a concept should not be recognisable by its list of names alone.
Negatives are texts of other topics and of nouns outside all topics.

Topics are either named (`build_concepts`, which draws by itself) or found
(`find_topics`, whose draws are those of all other sources).
"""

import collections
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from expertjax.concepts.drafts import Draft, Drafts
from expertjax.concepts.files import Concept
from expertjax.concepts.inventory import concept_name
from expertjax.concepts.settings import BuildSettings
from expertjax.concepts.wordnet import WordNet, read_licence, read_wordnet
from expertjax.concepts.wordnet_topics import (
    Topic,
    choose_topics,
    named_topics,
    usable_texts,
)
from expertjax.concepts.write import write_concepts
from expertjax.errors import InputError

_WORD = re.compile(r"\w+")


def build_folder(
    folder: str | Path,
    out: str | Path,
    roots: Sequence[str],
    settings: BuildSettings | None = None,
    overwrite: bool = False,
) -> list[Concept]:
    """Builds concepts from the WordNet in `folder` and writes them to `out`.

    Arguments and errors as in `build_concepts` and `write_concepts`. WordNet's
    licence goes along, as it asks.
    """
    concepts = build_concepts(read_wordnet(folder), roots, settings)
    notices = {"LICENSE.wordnet.txt": read_licence(folder)}
    write_concepts(concepts, out, "wordnet", overwrite, notices)
    return concepts


def build_concepts(
    wordnet: WordNet,
    roots: Sequence[str],
    settings: BuildSettings | None = None,
) -> list[Concept]:
    """One *sense* concept per root, the same for the same seed and roots.

    Args:
      wordnet: the database.
      roots: sense keys such as `bird%1:05:00::`.
      settings: sizes and seed.

    Raises:
      InputError: a root is unknown or given twice, or has too few texts, or
        nothing is left for negatives.
    """
    settings = settings or BuildSettings()
    topics = named_topics(wordnet, roots, settings)
    draw = np.random.default_rng(settings.seed)
    positives = [_sample(topic.texts, settings.max_positives, draw) for topic in topics]
    pool = _negative_pool(wordnet, topics, positives, settings, draw)
    concepts = []
    for topic, positive in zip(topics, positives, strict=True):
        negative = _sample(_negatives(topic, pool), settings.num_negatives, draw)
        if not negative:
            raise InputError(f"root {topic.sense_key}: no text is left for negatives")
        name = concept_name(topic.sense_key)
        concepts.append(Concept("sense", name, positive, negative))
    return concepts


def find_topics(wordnet: WordNet, settings: BuildSettings) -> Drafts:
    """Every noun synset with enough texts, without those that nest too much.

    Raises:
      InputError: no synset has `min_positives` texts.
    """
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


def _negative_pool(
    wordnet: WordNet,
    topics: Sequence[Topic],
    positives: Sequence[Sequence[str]],
    settings: BuildSettings,
    draw: np.random.Generator,
) -> list[str]:
    """Texts that may be negatives: all chosen positives, and nouns of no topic.

    Small on purpose: sentences that many concepts share are computed only once.
    """
    inside = {s.key for topic in topics for s in wordnet.hyponym_closure(topic.root)}
    outside = [
        text
        for synset in wordnet.synsets.values()
        if synset.part == "n" and synset.key not in inside
        for text in usable_texts(synset, settings)
    ]
    drawn = _sample(tuple(dict.fromkeys(outside)), 2 * settings.num_negatives, draw)
    texts = [text for positive in positives for text in positive]
    return list(dict.fromkeys([*texts, *drawn]))


def _negatives(topic: Topic, pool: Sequence[str]) -> tuple[str, ...]:
    """Texts of the pool from outside the closure that do not name the topic."""
    named = _names(topic)
    return tuple(
        text for text in pool if text not in topic.inside and not named.search(text)
    )


def _sample(
    texts: tuple[str, ...], limit: int, draw: np.random.Generator
) -> tuple[str, ...]:
    """At most `limit` of `texts`, drawn without replacement, in their order."""
    if len(texts) <= limit:
        return texts
    chosen = np.sort(draw.choice(len(texts), limit, replace=False))
    return tuple(texts[at] for at in chosen)
