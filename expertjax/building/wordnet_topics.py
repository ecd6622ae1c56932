"""Topics of WordNet: a root synset with the texts of all its hyponyms."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from expertjax.building.glosses import as_sentence
from expertjax.building.settings import BuildSettings
from expertjax.building.wordnet import Synset, WordNet
from expertjax.errors import InputError, join_problems

# Topics chosen automatically share at most this part of their texts (Jaccard),
# unless --max_jaccard says otherwise.
MAX_SHARED = 0.5
# ... and hold at most this many times `max_positives` texts: *object* is no topic.
MAX_BREADTH = 10


@dataclass(frozen=True)
class Topic:
    """A root sense with the texts of its closure, in WordNet's order."""

    sense_key: str
    root: Synset
    texts: tuple[str, ...]

    @cached_property
    def inside(self) -> frozenset[str]:
        """The same texts, for questions of membership."""
        return frozenset(self.texts)


def choose_topics(wordnet: WordNet, settings: BuildSettings) -> list[Topic]:
    """Noun topics with enough texts, narrow ones first, that do not nest much.

    Raises:
      InputError: no synset has `min_positives` texts.
    """
    limit = MAX_BREADTH * settings.max_positives
    found: list[Topic] = []
    for root in wordnet.synsets.values():
        # A synset without hyponyms, or with half of the nouns, is no topic.
        if root.part != "n" or not root.hyponyms:
            continue
        if len(wordnet.hyponym_closure(root)) > limit:
            continue
        topic = _topic(wordnet, root, settings)
        if settings.min_positives <= len(topic.texts) <= limit:
            found.append(topic)
    most = MAX_SHARED if settings.max_jaccard is None else settings.max_jaccard
    kept: list[Topic] = []
    for topic in sorted(found, key=lambda one: (len(one.texts), one.root.offset)):
        if all(_shared(topic, other) <= most for other in kept):
            kept.append(topic)
    if not kept:
        raise InputError(
            f"{wordnet.folder}: no noun has {settings.min_positives} texts; lower "
            "--min_positives"
        )
    return kept


def _shared(one: Topic, other: Topic) -> float:
    both = len(one.inside & other.inside)
    return both / (len(one.texts) + len(other.texts) - both)


def named_topics(
    wordnet: WordNet, roots: Sequence[str], settings: BuildSettings
) -> list[Topic]:
    """The topics of the sense keys `roots`, in their order.

    Raises:
      InputError: naming every root that is unknown, doubled or too small.
    """
    topics: list[Topic] = []
    problems: list[str] = []
    seen: dict[tuple[str, int], str] = {}
    for sense_key in roots:
        try:
            topic = _topic(wordnet, wordnet.synset(sense_key), settings, sense_key)
        except InputError as error:
            problems.append(str(error))
            continue
        if topic.root.key in seen:
            problems.append(f"{sense_key}: same synset as {seen[topic.root.key]}")
        seen[topic.root.key] = sense_key
        if len(topic.texts) < settings.min_positives:
            problems.append(
                f"{sense_key}: {len(topic.texts)} texts, but --min_positives="
                f"{settings.min_positives}; choose a wider root or lower it"
            )
        topics.append(topic)
    if problems:
        raise InputError(join_problems("--roots cannot be used:", problems))
    return topics


def _topic(
    wordnet: WordNet, root: Synset, settings: BuildSettings, sense_key: str = ""
) -> Topic:
    closure = wordnet.hyponym_closure(root)
    texts = [text for synset in closure for text in usable_texts(synset, settings)]
    sense_key = sense_key or wordnet.sense_key(root)
    return Topic(sense_key, root, tuple(dict.fromkeys(texts)))


def usable_texts(synset: Synset, settings: BuildSettings) -> list[str]:
    """Definition and examples of `synset` as sentences of allowed length."""
    texts = [as_sentence(text) for text in (synset.definition, *synset.examples)]
    low, high = settings.min_words, settings.max_words
    return [text for text in texts if low <= len(text.split()) <= high]
