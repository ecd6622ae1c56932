"""Tasks: sentences with labels, and who is trained on, validated on, tested on.

Nothing here depends on a model, so that all models are judged by the same sentences.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from expertjax.concepts.files import check_name, read_concepts, read_csv
from expertjax.concepts.pool import ConceptSet, build_concept_set
from expertjax.concepts.repeated import one_spaced
from expertjax.errors import InputError, join_problems
from expertjax.home import user_path
from expertjax.probing.settings import ProbeSettings

TRAIN, VALIDATION, TEST = range(3)
_LEAST = 3  # sentences of a label: one for each part


@dataclasses.dataclass(frozen=True)
class Task:
    """A classification of sentences.

    Attributes:
      name: `group/concept` for concepts, the file's name for tables.
      classes: [K] what the labels are called.
      sentence: [n] int rows of the pool, distinct.
      label: [n] int, from 0 to K - 1.
      split: [n] int: TRAIN, VALIDATION or TEST.
    """

    name: str
    classes: tuple[str, ...]
    sentence: np.ndarray
    label: np.ndarray
    split: np.ndarray

    def rows(self, part: int) -> np.ndarray:
        """Which of the n sentences belong to a part."""
        return np.flatnonzero(self.split == part)


@dataclasses.dataclass(frozen=True)
class TaskSet:
    """Tasks over one pool of sentences.

    Attributes:
      sentences: [N] distinct.
      tasks: with distinct names.
    """

    sentences: tuple[str, ...]
    tasks: tuple[Task, ...]

    def digest(self) -> str:
        """SHA-256 of all that results depend on."""
        digest = hashlib.sha256("\0".join(self.sentences).encode())
        for task in self.tasks:
            digest.update("\0".join((task.name, *task.classes)).encode())
            for array in (task.sentence, task.label, task.split):
                digest.update(array.astype(np.int64).tobytes())
        return digest.hexdigest()


# A task before its sentences are pooled: name, classes, texts, labels.
_Labelled = tuple[str, tuple[str, ...], list[str], list[int]]


def read_tasks(
    sources: Sequence[ConceptSet | Path | str], settings: ProbeSettings | None = None
) -> TaskSet:
    """Tasks of concept folders and of tables.

    Args:
      sources: concept folders or sets (a task for each concept: does the sentence
        contain it?) and `.csv` files with the columns text and label (a task each).
      settings: how many sentences are drawn, and how they are dealt out.

    Raises:
      InputError: says what is wrong with the files; a sentence under two labels of
        one task, a label with too few sentences, two tasks of one name.
    """
    settings = settings or ProbeSettings()
    labelled = [task for source in sources for task in _read(source, settings)]
    row_of: dict[str, int] = {}
    tasks: dict[str, Task] = {}
    problems = []
    for name, classes, texts, labels in labelled:
        if name in tasks:
            problems.append(f"two tasks are called {name}")
            continue
        try:
            label_of = _label_of(name, classes, texts, labels)
        except InputError as error:
            problems.append(str(error))
            continue
        rows = [row_of.setdefault(text, len(row_of)) for text in label_of]
        label = np.array(list(label_of.values()))
        split = _deal(name, label, settings)
        tasks[name] = Task(name, classes, np.array(rows), label, split)
    if problems:
        raise InputError(join_problems("--tasks: tasks that cannot be used:", problems))
    return TaskSet(tuple(row_of), tuple(tasks.values()))


def _read(
    source: ConceptSet | Path | str, settings: ProbeSettings
) -> Iterator[_Labelled]:
    if not isinstance(source, ConceptSet):
        path = user_path(source)
        if path.suffix == ".csv":
            yield _read_table(path, settings)
            return
        if not path.is_dir():
            raise InputError(
                f"--tasks={path}: not there; expected a concept folder or a .csv file"
            )
        concepts = read_concepts(path)
        source = build_concept_set(
            concepts, settings.num_per_concept, settings.data_seed
        )
    for key, member in zip(source.keys, source.members, strict=True):
        texts = [source.sentences[row] for row in member.sentence]
        yield key, ("absent", "present"), texts, member.label.tolist()


def _read_table(path: Path, settings: ProbeSettings) -> _Labelled:
    """The sentences of a table, at most so many of a label."""
    check_name(path.stem, f"--tasks={path}: the file's name")
    rows = [
        (line, row["text"], row["label"])
        for line, row in read_csv(path, ("text", "label"), "--tasks")
    ]
    blank = [
        f"line {line}: a {what} is missing"
        for line, text, label in rows
        for what, value in (("text", text), ("label", label))
        if not (value or "").strip()
    ]
    if blank:
        raise InputError(join_problems(f"--tasks={path}:", blank))
    classes = sorted({label for _, _, label in rows})
    if len(classes) < 2:
        raise InputError(
            f"--tasks={path}: expected at least two labels, got {len(classes)}"
        )
    label = np.array([classes.index(label) for _, _, label in rows])
    kept = np.sort(_draw(label, settings))
    texts = [rows[row][1] for row in kept]
    return path.stem, tuple(classes), texts, label[kept].tolist()


def _draw(label: np.ndarray, settings: ProbeSettings) -> np.ndarray:
    """Rows: at most `num_per_concept` of each label."""
    random = np.random.RandomState(settings.data_seed)
    most = settings.num_per_concept
    of_labels = (np.flatnonzero(label == k) for k in np.unique(label))
    return np.concatenate(
        [
            rows if len(rows) <= most else random.choice(rows, most, replace=False)
            for rows in of_labels
        ]
    )


def _label_of(
    name: str, classes: tuple[str, ...], texts: list[str], labels: list[int]
) -> dict[str, int]:
    """Each sentence once: twice, it could be trained on and tested on."""
    label_of: dict[str, int] = {}
    spelt: dict[str, str] = {}
    for text, label in zip(texts, labels, strict=True):
        text = spelt.setdefault(one_spaced(text), text)
        if label_of.setdefault(text, label) != label:
            both = classes[label_of[text]], classes[label]
            raise InputError(
                f"{name}: {text!r} is listed as {both[0]} and as {both[1]}; "
                "remove one of them"
            )
    counts = np.bincount(list(label_of.values()), minlength=len(classes))
    if counts.min() < _LEAST:
        raise InputError(
            f"{name}: label {classes[counts.argmin()]} has {counts.min()} distinct "
            f"sentences; at least {_LEAST} are needed"
        )
    return label_of


def _deal(name: str, label: np.ndarray, settings: ProbeSettings) -> np.ndarray:
    """[n] parts: each label's sentences by the same shares, at random."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    random = np.random.default_rng([settings.split_seed, seed])
    split = np.full(len(label), TRAIN)
    for k in np.unique(label):
        rows = random.permutation(np.flatnonzero(label == k))
        # At least one for each part, and one to train on.
        most = len(rows) - 2
        num_test = min(max(1, round(settings.test * len(rows))), most)
        most = len(rows) - num_test - 1
        num_validation = min(max(1, round(settings.validation * len(rows))), most)
        split[rows[:num_test]] = TEST
        split[rows[num_test:][:num_validation]] = VALIDATION
    return split
