"""Who is labelled how: the concepts that are to be scored over a store."""

import hashlib
from collections.abc import Sequence

import numpy as np

from expertjax.concepts.pool import ConceptSet, Membership, sentence_digest
from expertjax.errors import InputError, join_problems
from expertjax.stores.folder import ResultFolder


def load_memberships(
    folder: ResultFolder,
) -> tuple[tuple[str, ...], tuple[Membership, ...]]:
    """The concepts of a folder and who is labelled how, in their order."""
    table = folder.read_table("memberships")
    keys, members = [], []
    for key, rows in table.groupby("concept", sort=False):
        keys.append(str(key))
        members.append(
            Membership(rows["sentence"].to_numpy(), rows["label"].to_numpy())
        )
    return tuple(keys), tuple(members)


def memberships_over(
    responses: ResultFolder, concepts: ConceptSet | None
) -> tuple[tuple[str, ...], tuple[Membership, ...]]:
    """The concepts' labels on the rows of a store.

    Args:
      responses: a folder whose capture is complete.
      concepts: over the same sentences; by default those of the capture.

    Raises:
      InputError: a sentence was not captured, or a concept keeps no positive or no
        negative.
    """
    if concepts is None:
        return load_memberships(responses)
    captured = responses.read_table("sentences")["sha256"]
    row_of = {digest: row for row, digest in enumerate(captured)}
    # Sentences over seq_len were dropped from the capture and stay out here.
    row_of |= dict.fromkeys(responses.read_table("dropped")["sha256"], -1)
    digests = [sentence_digest(text) for text in concepts.sentences]
    problems = [
        f"not captured: {text!r}"
        for text, digest in zip(concepts.sentences, digests, strict=True)
        if digest not in row_of
    ]
    if problems:
        raise InputError(
            join_problems(
                f"--concepts: sentences that {responses.path} does not have; "
                "capture them first:",
                problems,
            )
        )
    rows = np.array([row_of[digest] for digest in digests], np.int32)
    kept = concepts.keep(np.flatnonzero(rows >= 0))
    new_rows = rows[rows >= 0]
    members = tuple(
        Membership(new_rows[member.sentence], member.label) for member in kept.members
    )
    return kept.keys, members


def memberships_digest(keys: Sequence[str], members: Sequence[Membership]) -> str:
    """Hexadecimal SHA-256 of all concepts' names, rows and labels."""
    digest = hashlib.sha256()
    for key, member in zip(keys, members, strict=True):
        digest.update(key.encode())
        digest.update(member.sentence.astype(np.int32).tobytes())
        digest.update(member.label.astype(np.int8).tobytes())
    return digest.hexdigest()


def hold_out(
    keys: Sequence[str], members: Sequence[Membership], share: float, seed: int
) -> list[np.ndarray]:
    """Draws the sentences of each concept that are held out.

    Positives and negatives are drawn apart; a sentence that a concept lists twice is
    held out with both or not at all.

    Args:
      keys: [C] names, for messages.
      members: [C] labelled rows.
      share: of the sentences, over 0 and below 1.
      seed: of the draw.

    Returns:
      [C] arrays [n] of bool.

    Raises:
      InputError: a concept has but one positive or one negative.
    """
    held_out, problems = [], []
    for c, (key, member) in enumerate(zip(keys, members, strict=True)):
        random = np.random.default_rng((seed, c))
        is_held_out = np.zeros(len(member.label), bool)
        for label, what in ((0, "negative"), (1, "positive")):
            is_class = member.label == label
            rows = np.unique(member.sentence[is_class])
            if len(rows) < 2:
                problems.append(f"concept {key} has one {what}")
                continue
            count = min(max(round(share * len(rows)), 1), len(rows) - 1)
            drawn = random.permutation(rows)[:count]
            is_held_out |= is_class & np.isin(member.sentence, drawn)
        held_out.append(is_held_out)
    if problems:
        raise InputError(
            join_problems(f"--holdout={share} needs two of each:", problems)
        )
    return held_out
