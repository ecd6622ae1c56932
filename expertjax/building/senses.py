"""*Sense* concepts: sentences with a sense against sentences without it.

No negative may hide a positive. For each concept these sentences are neither:
a word there has several senses of which only some belong to the concept; a word there
could belong but has no sense, or one that the inventory has not (SemCor's wnsn=0); a
proper name stands there of a class that belongs (every person's name, for *person*
and what is above it). A name says nothing about what is below its class: *scientist*
keeps sentences with persons' names among its negatives, or else names would tell
positives from negatives. Where a concept is one synset alone, sentences with its
hyponyms are neither as well.
"""

import collections
from collections.abc import Hashable, Iterable, Sequence
from itertools import chain

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

Rows = dict[Hashable, list[Sequence[int]]]


def find_senses(
    corpus: Corpus, inventory: Inventory, settings: BuildSettings
) -> list[Draft]:
    """A concept for each node that enough sentences contain."""
    sure, maybe, prominence = _where(corpus, inventory, settings)
    drafts = []
    for node, lists in sure.items():
        if sum(map(len, lists)) < settings.min_positives:
            continue
        positives = distinct(lists)
        if len(positives) >= settings.min_positives:
            drafts.append(
                Draft(
                    group="sense",
                    name=concept_name(inventory.sense_key(node)),
                    positives=positives,
                    barred=without(distinct(maybe.get(node, [])), positives),
                    prominence=prominence[node],
                    words=inventory.words(node),
                    definition=inventory.definition(node),
                )
            )
    return drafts


def _where(
    corpus: Corpus, inventory: Inventory, settings: BuildSettings
) -> tuple[Rows, Rows, collections.Counter[Node]]:
    """Lists of sentences that contain a node for sure; may do; how often it is named.

    The lists are those of the corpus, not copies.
    """
    sure: Rows = collections.defaultdict(list)
    maybe: Rows = collections.defaultdict(list)
    prominence: collections.Counter[Node] = collections.Counter()
    for senses, rows in corpus.of_parts(settings):
        nodes = [inventory.node(sense) for sense in senses]
        if None in nodes:
            unknown = (inventory.senses(lemma_of(s), part_of(s)) for s in senses)
            _add(maybe, _all_above(inventory, chain.from_iterable(unknown)), rows)
            continue
        above = [inventory.above(node) for node in nodes]
        belongs = above if settings.hyponyms else [frozenset([one]) for one in nodes]
        certain = frozenset.intersection(*belongs)
        _add(sure, certain, rows)
        _add(maybe, frozenset.union(*above) - certain, rows)
        if len(nodes) == 1:
            prominence[nodes[0]] += len(rows)
    for (word, part), rows in corpus.untagged.items():
        if part in settings.part_letters:
            _add(maybe, _all_above(inventory, inventory.senses(word, part)), rows)
    for sense, rows in corpus.names.items():
        _add(maybe, _all_above(inventory, [sense]), rows)
    return sure, maybe, prominence


def count_unclear(corpus: Corpus, inventory: Inventory) -> None:
    """Adds to `corpus.left_out` how many words do not tell their sense."""
    for senses, rows in corpus.tagged.items():
        if any(inventory.node(sense) is None for sense in senses):
            corpus.left_out["words tagged with an unknown sense (unclear)"] += len(rows)
        elif len(senses) > 1:
            corpus.left_out["words tagged with several senses (unclear)"] += len(rows)
    untagged = sum(map(len, corpus.untagged.values()))
    corpus.left_out["words without a sense, parts of names too (unclear)"] = untagged
    corpus.left_out["proper names of a class only (unclear)"] = sum(
        map(len, corpus.names.values())
    )


def _all_above(inventory: Inventory, senses: Iterable[str]) -> frozenset[Hashable]:
    nodes = {inventory.node(sense) for sense in senses} - {None}
    return frozenset().union(*(inventory.above(node) for node in nodes))


def _add(to: Rows, keys: Iterable[Hashable], rows: Sequence[int]) -> None:
    for key in keys:
        to[key].append(rows)
