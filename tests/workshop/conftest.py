"""A studio of the tiny GPT-2, with sentences that its units tell apart."""

from collections.abc import Iterator

import pytest

from expertjax.checkpoints.load import Model
from expertjax.workshop.studio import Studio
from tests.capturing.tiny_concepts import tiny_concept_set


def sides(count: int, number: int = 0) -> tuple[list[str], list[str]]:
    """Sentences of a tiny concept: positives, negatives."""
    concepts = tiny_concept_set()
    member = concepts.members[number]
    found = []
    for side in (1, 0):
        rows = member.sentence[member.label == side][:count]
        found.append([concepts.sentences[row] for row in rows])
    return found[0], found[1]


@pytest.fixture(scope="package")
def studio(tiny_gpt2: Model) -> Iterator[Studio]:
    made = Studio(tiny_gpt2)
    yield made
    made.close()


@pytest.fixture(scope="package")
def name(studio: Studio) -> str:
    """Of what was found for all sentences of a tiny concept."""
    return studio.find(*sides(1000), None)
