"""*Sense* and *homograph* concepts out of a tagged corpus.

sense: sentences with the sense against sentences without it. homograph: sentences
with a word in one sense against sentences with the same word in other senses only
(Suau et al. 2020, section 3).

No negative may hide a positive. For each concept these sentences are neither:
a word there has several senses of which only some belong to the concept; a word there
could belong but has no sense, or one that the inventory has not (SemCor's wnsn=0); a
proper name stands there of a class that belongs (every person's name, for *person*
and what is above it). A name says nothing about what is below its class: "scientist"
keeps sentences with persons' names among its negatives, or else names would tell
positives from negatives.
"""

import collections
from collections.abc import Hashable, Iterable, Sequence
from itertools import chain

import numpy as np

from expertjax.concepts.build_wordnet import concept_name
from expertjax.concepts.drafts import NONE, Draft
from expertjax.concepts.inventory import Inventory, Node, lemma_of, part_of
from expertjax.concepts.settings import BuildSettings
from expertjax.concepts.tagged import Corpus

Rows = dict[Hashable, list[Sequence[int]]]


def find_senses(
    corpus: Corpus, inventory: Inventory, settings: BuildSettings
) -> list[Draft]:
    """Concepts of the kinds, parts of speech and sizes that `settings` ask for.

    What the inventory does not know is counted in `corpus.left_out`.
    """
    _count(corpus, inventory)
    drafts: list[Draft] = []
    if "sense" in settings.kinds:
        drafts += _sense_concepts(corpus, inventory, settings)
    if "homograph" in settings.kinds:
        drafts += _homograph_concepts(corpus, inventory, settings)
    return drafts


def _sense_concepts(
    corpus: Corpus, inventory: Inventory, settings: BuildSettings
) -> list[Draft]:
    sure: Rows = collections.defaultdict(list)
    maybe: Rows = collections.defaultdict(list)
    prominence: collections.Counter[Node] = collections.Counter()
    for senses, rows in _of_parts(corpus.tagged, settings):
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

    drafts = []
    for node, lists in sure.items():
        if sum(map(len, lists)) < settings.min_positives:
            continue
        positives = _distinct(lists)
        if len(positives) < settings.min_positives:
            continue
        drafts.append(
            Draft(
                group="sense",
                name=concept_name(inventory.sense_key(node)),
                positives=positives,
                barred=_without(_distinct(maybe.get(node, [])), positives),
                prominence=prominence[node],
                words=inventory.words(node),
                definition=inventory.definition(node),
            )
        )
    return drafts


def _homograph_concepts(
    corpus: Corpus, inventory: Inventory, settings: BuildSettings
) -> list[Draft]:
    by_word: dict[tuple[str, str], list[tuple[tuple[str, ...], Sequence[int]]]] = {}
    for senses, rows in _of_parts(corpus.tagged, settings):
        word = lemma_of(senses[0]), part_of(senses[0])
        by_word.setdefault(word, []).append((senses, rows))
    untagged: Rows = collections.defaultdict(list)
    for (form, part), rows in corpus.untagged.items():
        if part in settings.part_letters:
            lemmas = {(lemma_of(key), part) for key in inventory.senses(form, part)}
            _add(untagged, lemmas, rows)
    synonyms: Rows = collections.defaultdict(list)
    for senses, rows in _of_parts(corpus.tagged, settings):
        _add(synonyms, {inventory.node(sense) for sense in senses}, rows)
    drafts = []
    for word, tags in by_word.items():
        for senses, rows in tags:
            if len(senses) > 1 or len(rows) < settings.min_positives:
                continue
            sense, node = senses[0], inventory.node(senses[0])
            positives = _distinct([rows])
            known = [other for other in tags if None not in map(inventory.node, other[0])]
            others = [rows for keys, rows in known if sense not in keys]
            unclear = [rows for keys, rows in tags if (keys, rows) not in known]
            unclear += untagged.get(word, []) + synonyms.get(node, [])
            candidates = _without(_distinct(others), positives)
            negatives = _without(candidates, _distinct(unclear))
            if node is None or not len(negatives):
                continue
            drafts.append(
                Draft(
                    group="homograph",
                    name=concept_name(sense),
                    positives=positives,
                    negatives=negatives,
                    prominence=len(rows),
                    words=(word[0].replace("_", " "),),
                    definition=inventory.definition(node),
                )
            )
    return drafts


def _count(corpus: Corpus, inventory: Inventory) -> None:
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


def _of_parts(
    tagged: dict[tuple[str, ...], Sequence[int]], settings: BuildSettings
) -> Iterable[tuple[tuple[str, ...], Sequence[int]]]:
    for senses, rows in tagged.items():
        if part_of(senses[0]) in settings.part_letters:
            yield senses, rows


def _all_above(inventory: Inventory, senses: Iterable[str]) -> frozenset[Hashable]:
    nodes = {inventory.node(sense) for sense in senses} - {None}
    return frozenset().union(*(inventory.above(node) for node in nodes))


def _add(to: Rows, keys: Iterable[Hashable], rows: Sequence[int]) -> None:
    for key in keys:
        to[key].append(rows)


def _distinct(lists: Sequence[Sequence[int]]) -> np.ndarray:
    """Ascending int32 numbers of all lists, each once."""
    return np.unique(np.concatenate([NONE, *(np.asarray(one) for one in lists)]))


def _without(rows: np.ndarray, gone: np.ndarray) -> np.ndarray:
    return np.setdiff1d(rows, gone, assume_unique=True)
