"""The sentence pool: every distinct sentence once, and who is labelled how."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from expertjax.concepts.files import Concept
from expertjax.concepts.repeated import (
    distinct,
    require_one_label,
    under_both_labels,
    warn_of,
)
from expertjax.errors import InputError, join_problems


@dataclasses.dataclass(frozen=True)
class Membership:
    """The labelled sentences of one concept.

    Attributes:
      sentence: [n] int32 rows of the pool, distinct but where sentences were kept as
        they are listed.
      label: [n] int8, 1 for positives and 0 for negatives.
    """

    sentence: np.ndarray
    label: np.ndarray

    @staticmethod
    def none() -> "Membership":
        """No sentences."""
        return Membership(np.zeros(0, np.int32), np.zeros(0, np.int8))

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
      num_repeated: sentences that were left out because their concept lists them more
        than once.
    """

    keys: tuple[str, ...]
    sentences: tuple[str, ...]
    members: tuple[Membership, ...]
    num_repeated: int = 0

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
        return ConceptSet(self.keys, sentences, tuple(members), self.num_repeated)


def build_concept_set(
    concepts: Sequence[Concept],
    num_per_concept: int = 1000,
    data_seed: int = 1234,
    *,
    as_listed: bool = False,
) -> ConceptSet:
    """Draws each concept's sentences and pools them.

    A sentence counts once, however often its concept lists it. The drawing is the
    reference's: up to `num_per_concept` negatives, then as many positives, by
    `RandomState(data_seed).choice(replace=False)`, with a fresh random state for each
    concept.

    Args:
      concepts: with distinct keys.
      num_per_concept: the most positives, and the most negatives, of a concept.
      data_seed: of the drawing.
      as_listed: as the reference does, draw from the lists with all that they repeat
        (what is drawn depends on their lengths) and let repeated sentences count as
        often, under both labels too.

    Raises:
      InputError: a sentence is positive and negative of one concept.
    """
    if num_per_concept < 1:
        raise InputError("--num_per_concept must be at least 1")
    num_repeated = 0
    if as_listed:
        both = {concept.key: len(under_both_labels(concept)) for concept in concepts}
        warn_of("are positive and negative of one concept, as in the reference", both)
    else:
        require_one_label(concepts)
        concepts, num_repeated = _count_once(concepts)
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
    return ConceptSet(keys, tuple(row_of), tuple(members), num_repeated)


def _count_once(concepts: Sequence[Concept]) -> tuple[list[Concept], int]:
    """The concepts with distinct sentences, and how many that leaves out."""
    once = [
        dataclasses.replace(
            concept,
            positives=distinct(concept.positives),
            negatives=distinct(concept.negatives),
        )
        for concept in concepts
    ]
    counts = {
        old.key: len(old.positives + old.negatives) - len(new.positives + new.negatives)
        for old, new in zip(concepts, once, strict=True)
    }
    warn_of("are listed more than once by their concept and count once", counts)
    return once, sum(counts.values())


def sentence_digest(sentence: str) -> str:
    """Hexadecimal SHA-256 of the sentence's UTF-8 text."""
    return hashlib.sha256(sentence.encode("utf-8", "surrogatepass")).hexdigest()
