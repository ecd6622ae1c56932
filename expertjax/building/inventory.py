"""What is known of senses: their words, meanings, and what stands above them.

With WordNet a *node* is a synset; without, each sense key stands for itself.
"""

from collections.abc import Hashable, Iterable
from typing import Any, Protocol

from expertjax.building.morphology import base_forms, read_exceptions
from expertjax.building.wordnet import KEY_PARTS, WordNet

Node = Any  # hashable: (part, offset) of a synset, or a sense key


class Inventory(Protocol):
    """What the builder of sense concepts asks."""

    def node(self, sense_key: str) -> Node | None:
        """The node of a sense key; None where it is not known."""

    def senses(self, word: str, part: str) -> tuple[str, ...]:
        """Sense keys that any form of a word may have."""

    def above(self, node: Node) -> frozenset[Hashable]:
        """The node and all that it is a kind or an instance of."""

    def sense_key(self, node: Node) -> str:
        """The sense key that names the node."""

    def definition(self, node: Node) -> str:
        """What it means, or ""."""

    def words(self, node: Node) -> tuple[str, ...]:
        """Its own lemmas, with blanks."""


def part_of(sense_key: str) -> str:
    """The part of speech (n, v, a, r) in a sense key."""
    return KEY_PARTS.get(sense_key.partition("%")[2][:1], "")


def lemma_of(sense_key: str) -> str:
    """The word of a sense key, with underscores."""
    return sense_key.partition("%")[0]


def concept_name(sense_key: str) -> str:
    """The reference's file name of a sense key: bird-1_05_00__."""
    return sense_key.translate(str.maketrans("%:/", "-__"))


class _Senses:
    """Sense keys by word."""

    def __init__(self, sense_keys: Iterable[str], exceptions: dict) -> None:
        self._exceptions = exceptions
        self._keys: dict[tuple[str, str], list[str]] = {}
        for key in sense_keys:
            self._keys.setdefault((lemma_of(key), part_of(key)), []).append(key)

    def senses(self, word: str, part: str) -> tuple[str, ...]:
        """Sense keys that any form of a word may have."""
        lemmas = base_forms(word.lower().replace(" ", "_"), part, self._exceptions)
        found = [key for one in lemmas for key in self._keys.get((one, part), ())]
        return tuple(found)


class FlatInventory(_Senses):
    """The sense keys that a corpus uses; nothing stands above another."""

    def __init__(self, sense_keys: Iterable[str]) -> None:
        super().__init__(sense_keys, {})

    def node(self, sense_key: str) -> Node | None:
        """The key itself."""
        return sense_key

    def above(self, node: Node) -> frozenset[Hashable]:
        """Only itself."""
        return frozenset([node])

    def sense_key(self, node: Node) -> str:
        """The key itself."""
        return node

    def definition(self, node: Node) -> str:
        """Nobody knows."""
        return ""

    def words(self, node: Node) -> tuple[str, ...]:
        """The word in the key."""
        return (lemma_of(node).replace("_", " "),)


class WordNetInventory(_Senses):
    """Synsets of WordNet with their hypernyms."""

    def __init__(self, wordnet: WordNet) -> None:
        super().__init__(wordnet.senses, read_exceptions(wordnet.folder))
        self._wordnet = wordnet
        self._parents: dict[Node, list[Node]] = {}
        for synset in wordnet.synsets.values():
            for offset in synset.hyponyms:
                self._parents.setdefault((synset.part, offset), []).append(synset.key)
        self._above: dict[Node, frozenset[Hashable]] = {}

    def node(self, sense_key: str) -> Node | None:
        """Part and offset of the synset that has the key."""
        return self._wordnet.senses.get(sense_key)

    def above(self, node: Node) -> frozenset[Hashable]:
        """The synset and everything over it, by any way up."""
        if node not in self._above:
            seen, queue = {node}, [node]
            for child in queue:
                for parent in self._parents.get(child, ()):
                    if parent not in seen:
                        seen.add(parent)
                        queue.append(parent)
            self._above[node] = frozenset(seen)
        return self._above[node]

    def sense_key(self, node: Node) -> str:
        """The key of the synset's first lemma."""
        return self._wordnet.sense_key(self._wordnet.synsets[node])

    def definition(self, node: Node) -> str:
        """The gloss without its examples."""
        return self._wordnet.synsets[node].definition

    def words(self, node: Node) -> tuple[str, ...]:
        """The synset's lemmas."""
        return self._wordnet.synsets[node].lemmas
