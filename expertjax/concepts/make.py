"""Concepts out of sentences that are typed in Python, without files."""

from collections.abc import Mapping, Sequence

from expertjax.concepts.files import Concept, check_name, first_problem
from expertjax.concepts.pool import ConceptSet, build_concept_set
from expertjax.errors import InputError, join_problems


def make_concepts(
    sentences: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    *,
    num_per_concept: int = 1000,
    data_seed: int = 1234,
) -> ConceptSet:
    """Pools sentences given as lists, as `load_concepts` does those of a folder.

    Args:
      sentences: `group/name`, such as "mine/bird", -> positives and negatives.
      num_per_concept: the most positives, and the most negatives, of a concept.
      data_seed: of drawing them.

    Raises:
      InputError: lists everything that is wrong, as for a concept folder; a sentence
        is positive and negative of one concept.
    """
    concepts, problems = [], []
    for key, lists in sentences.items():
        try:
            concepts.append(_make_concept(key, lists))
        except InputError as error:
            problems.append(f"{key!r}: {error}")
    if not sentences:
        problems.append("no concept is given")
    if problems:
        raise InputError(join_problems("concepts that cannot be used:", problems))
    return build_concept_set(concepts, num_per_concept, data_seed)


def _make_concept(key: str, lists: tuple[Sequence[str], Sequence[str]]) -> Concept:
    group, slash, name = str(key).partition("/")
    if not slash:
        raise InputError("expected group/name, such as mine/bird")
    check_name(group, "group")
    check_name(name, "concept")
    if not isinstance(lists, tuple | list) or len(lists) != 2:
        raise InputError("expected two lists: positives, negatives")
    positives, negatives = (
        list(given) if isinstance(given, tuple) else given for given in lists
    )
    problems = first_problem("positives", positives)
    problems += first_problem("negatives", negatives)
    if problems:
        raise InputError("; ".join(problems))
    return Concept(group, name, tuple(positives), tuple(negatives))
