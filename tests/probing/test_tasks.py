"""Reading tasks, and dealing their sentences out."""

from pathlib import Path

import numpy as np
import pytest

from expertjax.concepts.files import Concept
from expertjax.concepts.pool import build_concept_set
from expertjax.errors import InputError
from expertjax.probing.settings import ProbeSettings
from expertjax.probing.tasks import TEST, TRAIN, VALIDATION, TaskSet, read_tasks
from tests.capturing.tiny_concepts import tiny_concept_set, write_tiny_concepts

ANIMALS = ["cat", "dog", "emu"]


def write_table(path: Path, count: int = 10) -> Path:
    """`count` sentences of each of three labels."""
    lines = [f"a {a} number {i},{a}" for i in range(count) for a in ANIMALS]
    path.write_text("\n".join(["text,label", *lines]))
    return path


def labelled(tasks: TaskSet, name: str) -> dict[str, tuple[str, int]]:
    """Sentence -> (label, part)."""
    [task] = [task for task in tasks.tasks if task.name == name]
    return {
        tasks.sentences[row]: (task.classes[label], int(part))
        for row, label, part in zip(task.sentence, task.label, task.split, strict=True)
    }


def test_concepts_and_tables_share_one_pool(tmp_path: Path) -> None:
    folder = write_tiny_concepts(tmp_path / "concepts")
    tasks = read_tasks([folder, write_table(tmp_path / "animals.csv")])
    names = [f"sense/tiny-{i}" for i in range(3)] + ["animals"]
    assert [task.name for task in tasks.tasks] == names
    assert len(set(tasks.sentences)) == len(tasks.sentences)
    assert len(tasks.sentences) <= 60 + 30
    concepts = tiny_concept_set()
    for key, member in zip(concepts.keys, concepts.members, strict=True):
        wanted = {
            concepts.sentences[row]: ["absent", "present"][label]
            for row, label in zip(member.sentence, member.label, strict=True)
        }
        got = labelled(tasks, key)
        assert {text: label for text, (label, _) in got.items()} == wanted
    animals = labelled(tasks, "animals")
    assert len(animals) == 30
    assert all(text.split()[1] == label for text, (label, _) in animals.items())


def test_parts_are_stratified_and_depend_on_nothing_else(tmp_path: Path) -> None:
    table = write_table(tmp_path / "animals.csv")
    alone = labelled(read_tasks([table]), "animals")
    for label in ANIMALS:
        parts = [part for of, part in alone.values() if of == label]
        assert np.bincount(parts).tolist() == [6, 2, 2]
    others = read_tasks([tiny_concept_set(), table])
    assert labelled(others, "animals") == alone
    other_seed = read_tasks([table], ProbeSettings(split_seed=1))
    assert labelled(other_seed, "animals") != alone
    assert other_seed.digest() != read_tasks([table]).digest()


@pytest.mark.parametrize("count", [3, 4, 5])
def test_the_smallest_tasks_have_all_parts(tmp_path: Path, count: int) -> None:
    greedy = ProbeSettings(validation=0.45, test=0.45)
    tasks = read_tasks([write_table(tmp_path / "x.csv", count)], greedy)
    for part in (TRAIN, VALIDATION, TEST):
        rows = tasks.tasks[0].rows(part)
        assert set(tasks.tasks[0].label[rows]) == {0, 1, 2}


def test_as_many_sentences_of_a_label_as_asked_for(tmp_path: Path) -> None:
    table = write_table(tmp_path / "x.csv")
    tasks = read_tasks([table], ProbeSettings(num_per_concept=4))
    assert np.bincount(tasks.tasks[0].label).tolist() == [4, 4, 4]


def test_a_sentence_counts_once() -> None:
    """Else it could be trained on and tested on."""
    concept = Concept("a", "b", ("x", "x", "y", "z"), ("p", "q", "r", "r"))
    [task] = read_tasks([build_concept_set([concept])]).tasks
    assert sorted(task.sentence) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "content, problem",
    [
        ("text,class\na,b\n", "expected the columns text,label; got text,class"),
        ("", "got nothing"),
        ("text,label\na,x\n,y\n", "line 3: a text is missing"),
        ("text,label\na\n", "line 2: a label is missing"),
        ("text,label\na,x\nb,x\n", "at least two labels, got 1"),
        ("text,label\na,x\nb,x\nc,x\nd,y\n", "label y has 1 distinct sentences"),
        (
            "text,label\na,x\nb,x\nc,x\na,y\n",
            "'a' is listed as x and as y; remove one",
        ),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=problem) as error:
        read_tasks([path])
    assert "bad" in str(error.value)


def test_what_is_not_there_or_there_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.csv: cannot be read"):
        read_tasks([tmp_path / "nothing.csv"])
    with pytest.raises(InputError, match=r"expected a concept folder or a \.csv"):
        read_tasks([tmp_path / "nothing"])
    table = write_table(tmp_path / "x.csv")
    with pytest.raises(InputError, match="two tasks are called x"):
        read_tasks([table, table])


@pytest.mark.parametrize(
    "wrong",
    [
        {"representation": "max"},
        {"special_tokens": "some"},
        {"compute_dtype": "float16"},
        {"seq_len": 0},
        {"num_per_concept": 2},
        {"batch_tokens": -1},
        {"split_seed": -1},
        {"validation": 0.0},
        {"test": 0.9, "validation": 0.1},
        {"l2": ()},
        {"l2": (1.0, 1.0)},
        {"l2": (0.0,)},
        {"l2": (float("nan"),)},
    ],
)
def test_settings_that_make_no_sense_name_the_flag(wrong: dict) -> None:
    with pytest.raises(InputError, match=f"--{next(iter(wrong))}="):
        ProbeSettings(**wrong)
