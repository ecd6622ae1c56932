"""Concepts before the draw: which sentences contain them, which may be negatives.

Sentences are numbers into one list; nothing is copied before a concept is written.
"""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from expertjax.building.settings import BuildSettings
from expertjax.errors import InputError

# A task shares at most this part of its positives with any other concept.
MAX_TASK_JACCARD = 0.5
NONE = np.zeros(0, np.int32)


@dataclasses.dataclass(frozen=True)
class Draft:
    """A concept whose sentences are still to be drawn.

    Attributes:
      group: e.g. "sense".
      name: e.g. "football-1_04_00__".
      positives: distinct sentences that contain it.
      barred: sentences that are no positives, but may not be negatives either.
      negatives: the only sentences that may be negatives; None: all others.
      prominence: how often its own words stand for it; of two concepts that nearly
        coincide, the one that people name more often is the more natural.
      words: its own lemmas.
      definition: what it means.
    """

    group: str
    name: str
    positives: np.ndarray
    barred: np.ndarray = dataclasses.field(default_factory=lambda: NONE)
    negatives: np.ndarray | None = None
    prominence: int = 0
    words: tuple[str, ...] = ()
    definition: str = ""

    @property
    def key(self) -> str:
        """`group/name`."""
        return f"{self.group}/{self.name}"

    def may_be_negative(self, num_texts: int) -> np.ndarray:
        """[num_texts] bool: the candidates for negatives."""
        if self.negatives is None:
            free = np.ones(num_texts, bool)
        else:
            free = np.zeros(num_texts, bool)
            free[self.negatives] = True
        free[self.positives] = False
        free[self.barred] = False
        return free


@dataclasses.dataclass
class Drafts:
    """What a source holds.

    Attributes:
      source: its name, written into each concept.
      texts: distinct sentences.
      concepts: drafts over them.
      left_out: what was left out or merged -> how often.
      notices: file name -> text: licences that go along.
    """

    source: str
    texts: Sequence[str]
    concepts: list[Draft]
    left_out: collections.Counter[str]
    notices: dict[str, str] = dataclasses.field(default_factory=dict)


def distinct(lists: Sequence[Sequence[int]]) -> np.ndarray:
    """The numbers of all lists, ascending, each once."""
    return np.unique(np.concatenate([NONE, *(np.asarray(one) for one in lists)]))


def without(rows: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """Distinct `rows` that are not in `gone`, ascending."""
    return np.setdiff1d(rows, gone, assume_unique=True)


def choose(drafts: Drafts, settings: BuildSettings) -> tuple[list[Draft], list[Draft]]:
    """(concepts, tasks): those of the drafts that `settings` ask for.

    What is left out is counted in `drafts.left_out`.

    Raises:
      InputError: too few are left.
    """
    found = _large_enough(drafts, settings)
    if settings.max_jaccard is not None:
        kept = prune(found, len(drafts.texts), settings.max_jaccard)
        reason = f"concepts that share over {settings.max_jaccard:g} with a kept one"
        drafts.left_out[reason] += len(found) - len(kept)
        found = kept
    wanted = settings.num_concepts or len(found)
    if wanted > len(found) or not found:
        raise InputError(
            f"--num_concepts={wanted}: {len(found)} concepts are there; lower "
            f"--min_positives ({settings.min_positives}), --min_negatives or "
            "--num_concepts"
        )
    drafts.left_out["concepts not drawn (--num_concepts)"] += len(found) - wanted
    found = sorted(found, key=lambda draft: draft.key)
    order = np.random.default_rng(settings.seed).permutation(len(found))[:wanted]
    tasks = _tasks(found, order, len(drafts.texts), settings)
    rest = np.sort(np.setdiff1d(order, tasks))
    return [found[at] for at in rest], [found[at] for at in np.sort(tasks)]


def _tasks(
    found: Sequence[Draft], order: np.ndarray, num_texts: int, settings: BuildSettings
) -> np.ndarray:
    """Which of `found`, the first that may be in `order`, are held out as tasks."""
    num_tasks = round(settings.tasks_share * len(order))
    if not num_tasks:
        return order[:0]
    apart = _apart([found[at] for at in order], num_texts)
    if len(apart) < num_tasks or num_tasks == len(order):
        raise InputError(
            f"--tasks_share={settings.tasks_share:g}: of {len(order)} concepts "
            f"{len(apart)} are enough apart from all others to be tasks, "
            f"{num_tasks} are asked for; lower --tasks_share"
        )
    return order[apart[:num_tasks]]


def _apart(drafts: Sequence[Draft], num_texts: int) -> np.ndarray:
    """Which may be held out: the others, of whatever group, hardly say the same."""
    shared = jaccards(drafts, num_texts, across_groups=True)
    np.fill_diagonal(shared, 0)
    return np.flatnonzero(shared.max(axis=1) <= MAX_TASK_JACCARD)


def _large_enough(drafts: Drafts, settings: BuildSettings) -> list[Draft]:
    kept, num_texts = [], len(drafts.texts)
    for draft in drafts.concepts:
        if len(draft.positives) < settings.min_positives:
            reason = f"concepts with under {settings.min_positives} positives"
        elif len(draft.positives) > settings.max_share * num_texts:
            reason = f"concepts in over {settings.max_share:g} of all sentences"
        elif draft.may_be_negative(num_texts).sum() < settings.min_negatives:
            reason = f"concepts with under {settings.min_negatives} negatives"
        else:
            kept.append(draft)
            continue
        drafts.left_out[reason] += 1
    return kept


def prune(drafts: Sequence[Draft], num_texts: int, max_jaccard: float) -> list[Draft]:
    """Without drafts that share too much with one of their group that is kept.

    The more prominent is kept; of equals the narrower, then the first by name.
    """
    order = sorted(
        range(len(drafts)),
        key=lambda at: (
            -drafts[at].prominence,
            len(drafts[at].positives),
            drafts[at].key,
        ),
    )
    shared = jaccards(drafts, num_texts) > max_jaccard
    gone = np.zeros(len(drafts), bool)
    for at in order:
        if not gone[at]:
            alike = shared[at]
            gone |= alike
            gone[at] = False
    return [draft for draft, out in zip(drafts, gone, strict=True) if not out]


def jaccards(
    drafts: Sequence[Draft], num_texts: int, across_groups: bool = False
) -> np.ndarray:
    """[C, C] share of common positives (intersection over union).

    Concepts of two groups share none unless `across_groups`.
    """
    ends = np.cumsum([0] + [len(draft.positives) for draft in drafts])
    rows = np.concatenate([NONE, *(draft.positives for draft in drafts)])
    shape = len(drafts), num_texts
    contains = sparse.csr_array((np.ones(len(rows), np.int32), rows, ends), shape)
    both = (contains @ contains.T).toarray()
    sizes = np.diff(ends)
    union = np.maximum(sizes[:, None] + sizes[None] - both, 1)
    groups = np.array([draft.group for draft in drafts])
    counted = across_groups | (groups[:, None] == groups[None])
    return np.where(counted, both / union, 0.0)
