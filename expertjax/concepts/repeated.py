"""Sentences that a concept lists more than once, under one label or under both.

A sentence counts once: listed twice it would make a concept look better known than it
is, and could be learned from in one place and tested on in the other. White space
makes no difference between sentences.
"""

from collections.abc import Sequence

from absl import logging

from expertjax.concepts.files import Concept
from expertjax.errors import InputError, join_problems

_SHOWN = 5  # concepts that a warning names


def one_spaced(text: str) -> str:
    """The text with single spaces for all white space, and none around it."""
    return " ".join(text.split())


def distinct(texts: Sequence[str]) -> tuple[str, ...]:
    """Each sentence as it is listed first."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(one_spaced(text), text)
    return tuple(first.values())


def under_both_labels(concept: Concept) -> list[str]:
    """The positives that are negatives too, as they stand among the positives."""
    negatives = {one_spaced(text) for text in concept.negatives}
    return [t for t in distinct(concept.positives) if one_spaced(t) in negatives]


def require_one_label(concepts: Sequence[Concept]) -> None:
    """Refuses concepts that contradict themselves.

    Raises:
      InputError: names each with its sentences.
    """
    problems = [
        f"{concept.key}: {text!r} is listed as positive and as negative"
        for concept in concepts
        for text in under_both_labels(concept)
    ]
    if problems:
        raise InputError(
            join_problems(
                "concepts that contradict themselves; remove each of these sentences "
                "from one of the two lists (white space makes no difference):",
                problems,
            )
        )


def warn_of(what: str, counts: dict[str, int]) -> None:
    """One line on the screen: how many in all, and of which concepts.

    Args:
      what: happened to the sentences.
      counts: concept -> how many of them; those of 0 are not named.
    """
    counts = {key: count for key, count in counts.items() if count}
    if not counts:
        return
    most = sorted(counts, key=lambda key: -counts[key])
    named = ", ".join(f"{key} {counts[key]}" for key in most[:_SHOWN])
    more = len(counts) - _SHOWN
    logging.warning(
        "%d sentence(s) %s: %s%s",
        sum(counts.values()),
        what,
        named,
        f" and {more} concepts more" if more > 0 else "",
    )
