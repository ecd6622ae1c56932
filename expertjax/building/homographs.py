"""*Homograph* concepts: a word in one sense against the same word in other senses.

A negative has the word in known other senses only. Sentences where it also stands
without a sense, or with several, or where a synonym has the sense, are neither.
"""

import collections
from collections.abc import Sequence

import numpy as np

from expertjax.building.drafts import Draft, distinct, without
from expertjax.building.inventory import (
    Inventory,
    Node,
    concept_name,
    lemma_of,
    part_of,
)
from expertjax.building.settings import BuildSettings
from expertjax.building.tagged import Corpus

Tag = tuple[tuple[str, ...], Sequence[int]]  # sense keys, sentences
Word = tuple[str, str]  # lemma, part of speech
Lists = list[Sequence[int]]


def find_homographs(
    corpus: Corpus, inventory: Inventory, settings: BuildSettings
) -> list[Draft]:
    """A concept for each sense of a word that is tagged in other senses too."""
    tags_of: dict[Word, list[Tag]] = collections.defaultdict(list)
    same_node: dict[Node, Lists] = collections.defaultdict(list)
    for senses, rows in corpus.of_parts(settings):
        tags_of[lemma_of(senses[0]), part_of(senses[0])].append((senses, rows))
        for node in {inventory.node(sense) for sense in senses}:
            same_node[node].append(rows)
    untagged = _untagged_words(corpus, inventory, settings)
    drafts = []
    for word, tags in tags_of.items():
        for senses, rows in tags:
            node = inventory.node(senses[0])
            if len(senses) > 1 or node is None or len(rows) < settings.min_positives:
                continue
            positives = distinct([rows])
            unclear = untagged.get(word, []) + same_node[node]
            negatives = _other_senses(senses[0], tags, unclear, inventory)
            negatives = without(negatives, positives)
            if len(positives) >= settings.min_positives and len(negatives):
                drafts.append(
                    Draft(
                        group="homograph",
                        name=concept_name(senses[0]),
                        positives=positives,
                        negatives=negatives,
                        prominence=len(rows),
                        words=(word[0].replace("_", " "),),
                        definition=inventory.definition(node),
                    )
                )
    return drafts


def _other_senses(
    sense: str, tags: Sequence[Tag], unclear: Lists, inventory: Inventory
) -> np.ndarray:
    """Sentences where all tags of a word are of other, known senses."""
    others: Lists = []
    for senses, rows in tags:
        known = None not in {inventory.node(one) for one in senses}
        (others if known and sense not in senses else unclear).append(rows)
    return without(distinct(others), distinct(unclear))


def _untagged_words(
    corpus: Corpus, inventory: Inventory, settings: BuildSettings
) -> dict[Word, Lists]:
    """Word -> sentences where a form of it stands without a sense."""
    found: dict[Word, Lists] = collections.defaultdict(list)
    for (form, part), rows in corpus.untagged.items():
        if part in settings.part_letters:
            for lemma in {lemma_of(key) for key in inventory.senses(form, part)}:
                found[lemma, part].append(rows)
    return found
