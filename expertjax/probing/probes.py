"""Probes of one model: every task, group by group (Alain and Bengio 2017)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from expertjax.capturing.batches import choose_buckets
from expertjax.probing import logistic, scores
from expertjax.probing.settings import ProbeSettings
from expertjax.probing.tasks import TEST, TRAIN, VALIDATION, Task, TaskSet

COLUMNS = (
    "task", "n_train", "n_validation", "n_test", "l2", "accuracy",
    "balanced_accuracy", "auroc", "majority",
)  # fmt: skip
SCORES = ("accuracy", "balanced_accuracy", "auroc")
_GROUP_BYTES = 256 * 2**20
_COMPILING = 2**23  # features that are fitted in the time that a shape is compiled
_FILLER = -1


def probe_vectors(
    vectors_NxD: np.ndarray, tasks: TaskSet, settings: ProbeSettings | None = None
) -> pd.DataFrame:
    """Fits and judges a probe for each task.

    Features are standardised by the sentences that are trained on, the regularisation
    is the one of the least cross-entropy on the validation sentences, the strongest of
    equals, and scores are of the test sentences.

    Args:
      vectors_NxD: of the tasks' sentences.
      tasks: from `read_tasks`.
      settings: see `ProbeSettings`.

    Returns:
      a row for each task, with the columns of `COLUMNS`; `majority` is the accuracy of
      always naming the class that is most frequent in training.
    """
    settings = settings or ProbeSettings()
    l2 = np.sort(np.array(settings.l2, np.float32))[::-1]
    rows: dict[str, dict] = {}
    for group, padded in _groups(tasks.tasks, vectors_NxD.shape[1]):
        filled = [*group, *[None] * (padded[0] - len(group))]
        x, label, split = (
            np.stack(arrays)
            for arrays in zip(
                *(_pad(task, vectors_NxD, padded[1]) for task in filled), strict=True
            )
        )
        num_classes = len(group[0].classes)
        outcome = logistic.fit_tasks(x, label, split, l2, num_classes)
        chosen, log_p = np.asarray(outcome.chosen), np.asarray(outcome.log_p)
        for i, task in enumerate(group):
            log_p_nxK = log_p[i, : len(task.label)]
            rows[task.name] = _judge(task, float(l2[chosen[i]]), log_p_nxK)
    return pd.DataFrame([rows[task.name] for task in tasks.tasks], columns=COLUMNS)


def _judge(task: Task, l2: float, log_p_nxK: np.ndarray) -> dict:
    """A row of the table."""
    test = task.rows(TEST)
    label, log_p = task.label[test], log_p_nxK[test].astype(np.float64)
    predicted = log_p.argmax(1)
    usual = np.bincount(task.label[task.rows(TRAIN)]).argmax()
    return {
        "task": task.name,
        "n_train": len(task.rows(TRAIN)),
        "n_validation": len(task.rows(VALIDATION)),
        "n_test": len(test),
        "l2": float(f"{l2:.6g}"),  # as it was given, without float32's digits
        "accuracy": scores.accuracy(label, predicted),
        "balanced_accuracy": scores.balanced_accuracy(label, predicted),
        "auroc": scores.auroc(label, log_p),
        "majority": float(np.mean(label == usual)),
    }


def _groups(
    tasks: Sequence[Task], width: int
) -> Iterator[tuple[list[Task], tuple[int, int]]]:
    """Tasks of like size and as many classes, and the (C, n) they are padded to.

    Few shapes, as each is compiled; none larger than `_GROUP_BYTES`, unless a single
    task is.
    """
    by_classes: dict[int, list[Task]] = defaultdict(list)
    for task in sorted(tasks, key=lambda task: len(task.label)):
        by_classes[len(task.classes)].append(task)
    for alike in by_classes.values():
        lengths = np.array([len(task.label) for task in alike])
        buckets = choose_buckets(lengths, _COMPILING // width)
        edges = np.searchsorted(lengths, buckets, side="right")
        for rows, start, stop in zip(buckets, [0, *edges], edges, strict=False):
            # Twice: as they are, and standardised.
            most = max(1, _GROUP_BYTES // (2 * rows * width * 4))
            count = -(-(stop - start) // most)
            size = -(-(stop - start) // count)
            for first in range(start, stop, size):
                yield alike[first : min(first + size, stop)], (size, rows)


def _pad(
    task: Task | None, vectors_NxD: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and split of a task, or of none at all, with filler rows."""
    x = np.zeros((rows, vectors_NxD.shape[1]), np.float32)
    label, split = np.zeros(rows, np.int32), np.full(rows, _FILLER, np.int32)
    if task is not None:
        count = len(task.label)
        x[:count] = vectors_NxD[task.sentence]
        label[:count], split[:count] = task.label, task.split
    return x, label, split
