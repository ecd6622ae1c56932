"""How many positives and negatives the imported concepts had, and which."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from expertjax.capturing.prepare import write_sentences
from expertjax.concepts.files import read_concepts
from expertjax.concepts.pool import ConceptSet, build_concept_set
from expertjax.concepts.tokens import tell_long, tokenize
from expertjax.errors import InputError, join_problems
from expertjax.home import user_path
from expertjax.importing.settings import ImportSettings
from expertjax.stores.folder import ResultFolder


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labelled sentences of some concepts, as far as they are known.

    Attributes:
      keys: [C] concepts, in the order of the result.
      shapes: [C] (n_pos, n_neg).
      concepts: the sentences; None where only their number is known.
      n_tokens: [N] their lengths, missing where no tokenizer was there.
      dropped: sentences longer than seq_len; None where no tokenizer was there.
    """

    keys: tuple[str, ...]
    shapes: list[tuple[int, int]]
    concepts: ConceptSet | None = None
    n_tokens: pd.Series | None = None
    dropped: tuple[str, ...] | None = None

    def write(self, folder: ResultFolder) -> None:
        """Writes the tables of sentences, if they are known."""
        if self.concepts is not None:
            assert self.n_tokens is not None
            write_sentences(folder, self.concepts, self.n_tokens, self.dropped or ())


def read_labels(
    keys: Sequence[str],
    settings: ImportSettings,
    load_tokenizer: Callable[[], Any] | None,
) -> Labels:
    """Draws the sentences as the reference does, or takes their numbers as given.

    Args:
      keys: [C] concepts that are imported.
      settings: see `ImportSettings`.
      load_tokenizer: of the model; None: no sentence counts as too long.

    Raises:
      InputError: the concept folder is damaged or lacks a concept, or a concept keeps
        no positive or no negative of at most seq_len tokens.
    """
    if not settings.concepts:
        shapes = [(settings.n_pos, settings.n_neg)] * len(keys)
        return Labels(tuple(keys), shapes)
    every = read_concepts(user_path(settings.concepts))
    missing = sorted(set(keys) - {concept.key for concept in every})
    if missing:
        raise InputError(
            join_problems(
                f"--concepts={settings.concepts}: concepts that it does not list, but "
                "--results has:",
                missing,
            )
        )
    chosen = [concept for concept in every if concept.key in set(keys)]
    concepts = build_concept_set(
        chosen, settings.num_per_concept, settings.data_seed, as_listed=True
    )
    n_tokens = pd.Series(pd.NA, range(len(concepts.sentences)), "Int32")
    dropped = None
    if load_tokenizer:
        pool = tokenize(concepts, load_tokenizer(), seq_len=settings.seq_len)
        too_long = tell_long(concepts, pool, settings.seq_len)
        if too_long:
            print(too_long, file=sys.stderr)
        concepts, dropped = pool.concepts, pool.dropped
        n_tokens = pd.Series(pool.lengths)
    shapes = [(m.num_positives, m.num_negatives) for m in concepts.members]
    return Labels(concepts.keys, shapes, concepts, n_tokens, dropped)
