"""Concepts over a few dozen short sentences, and folders of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from expertjax.building.write import write_concepts
from expertjax.concepts.files import Concept
from expertjax.concepts.pool import ConceptSet, build_concept_set
from tests.tiny_models import SENTENCES

WORDS = sorted({word for text in SENTENCES for word in text.strip(".").split()})
SEQ_LEN = 48  # in tokens of the tiny models; some sentences are longer


def random_sentences(count: int, seed: int) -> list[str]:
    """Distinct sentences of 1 to 14 words that the tiny tokenizers know."""
    random = np.random.default_rng(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        words = random.choice(WORDS, random.integers(1, 15))
        texts[" ".join(words).capitalize() + "."] = None
    return list(texts)


def tiny_concepts(count: int = 3, seed: int = 0) -> list[Concept]:
    """Concepts of 14 positives and 20 negatives, out of 60 sentences in all."""
    pool = random_sentences(60, seed)
    random = np.random.default_rng(seed)
    concepts = []
    for number in range(count):
        chosen = [pool[i] for i in random.permutation(60)[:34]]
        concepts.append(
            Concept("sense", f"tiny-{number}", tuple(chosen[:14]), tuple(chosen[14:]))
        )
    return concepts


def tiny_concept_set(count: int = 3, seed: int = 0) -> ConceptSet:
    """The same as a pool."""
    return build_concept_set(tiny_concepts(count, seed))


def write_tiny_concepts(folder: Path, concepts: Sequence[Concept] = ()) -> Path:
    """The same as a concept folder."""
    return write_concepts(concepts or tiny_concepts(), folder, "tests")
