"""The sentence pool: every distinct sentence once, and who is labelled how."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from expertjax.concepts.files import Concept
from expertjax.errors import InputError, join_problems


@dataclasses.dataclass(frozen=True)
class Membership:
    """The labelled sentences of one concept.

    Attributes:
      sentence: [n] int32 rows of the pool. A sentence that the concept lists
        twice counts twice.
      label: [n] int8, 1 for positives and 0 for negatives.
    """

    sentence: np.ndarray
    label: np.ndarray

    @property
    def num_positives(self) -> int:
        """n_pos."""
        return int(self.label.sum())

    @property
    def num_negatives(self) -> int:
        """n_neg."""
        return len(self.label) - self.num_positives

    @property
    def chance(self) -> float:
        """The AP that is expected of a unit that knows nothing."""
        return self.num_positives / len(self.label)


@dataclasses.dataclass(frozen=True)
class ConceptSet:
    """Concepts over one pool of sentences.

    Attributes:
      keys: [C] `group/name`.
      sentences: [N] distinct sentences.
      members: [C] memberships.
    """

    keys: tuple[str, ...]
    sentences: tuple[str, ...]
    members: tuple[Membership, ...]

    def keep(self, rows: np.ndarray) -> "ConceptSet":
        """The set with only some sentences, in another order.

        Args:
          rows: [M] pool rows to be kept; row `rows[i]` becomes row `i`.

        Raises:
          InputError: a concept would have no positive or no negative left.
        """
        new_row = np.full(len(self.sentences), -1, np.int32)
        new_row[rows] = np.arange(len(rows), dtype=np.int32)
        members, problems = [], []
        for key, member in zip(self.keys, self.members, strict=True):
            kept = new_row[member.sentence] >= 0
            new = Membership(new_row[member.sentence[kept]], member.label[kept])
            if not new.num_positives or not new.num_negatives:
                label = "negative" if new.num_positives else "positive"
                problems.append(f"concept {key} has no {label} left")
            members.append(new)
        if problems:
            raise InputError(
                join_problems("after dropping sentences over --seq_len:", problems)
            )
        sentences = tuple(self.sentences[row] for row in rows)
        return ConceptSet(self.keys, sentences, tuple(members))


def build_concept_set(
    concepts: Sequence[Concept], num_per_concept: int = 1000, data_seed: int = 1234
) -> ConceptSet:
    """Draws each concept's sentences and pools them.

    The drawing is the reference's: up to `num_per_concept` negatives, then as
    many positives, by `RandomState(data_seed).choice(replace=False)`, with a
    fresh random state for each concept.

    Args:
      concepts: with distinct keys.
      num_per_concept: the most positives, and the most negatives, of a concept.
      data_seed: of the drawing.
    """
    if num_per_concept < 1:
        raise InputError("--num_per_concept must be at least 1")
    row_of: dict[str, int] = {}
    members = []
    for concept in concepts:
        random = np.random.RandomState(data_seed)
        rows, labels = [], []
        for label, sentences in ((0, concept.negatives), (1, concept.positives)):
            chosen: Sequence[int] | np.ndarray = range(len(sentences))
            if num_per_concept < len(sentences):
                chosen = random.choice(len(sentences), num_per_concept, replace=False)
            for i in chosen:
                rows.append(row_of.setdefault(sentences[i], len(row_of)))
                labels.append(label)
        members.append(Membership(np.array(rows, np.int32), np.array(labels, np.int8)))
    keys = tuple(concept.key for concept in concepts)
    return ConceptSet(keys, tuple(row_of), tuple(members))


def sentence_digest(sentence: str) -> str:
    """Hexadecimal SHA-256 of the sentence's UTF-8 text."""
    return hashlib.sha256(sentence.encode("utf-8", "surrogatepass")).hexdigest()
