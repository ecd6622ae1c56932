"""Reading and checking a concept folder.

The format is that of the reference implementation (apple/ml-selfcond):
`concept_list.csv` with columns group and concept, and for each of its rows
`<group>/<concept>.json` with the keys concept, group, sentences.positive and
sentences.negative.
"""

import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from expertjax.errors import InputError, join_problems

# A name becomes part of a path: no separators, no leading dot, nothing hidden.
_NAME = re.compile(r"[^\W_.][\w .,+'()&=@~!-]*", re.UNICODE)


@dataclasses.dataclass(frozen=True)
class Concept:
    """A binary set of sentences (Suau et al. 2020, section 3).

    Attributes:
      group: e.g. "sense" or "homograph".
      name: e.g. "football-1_04_00__".
      positives: sentences that contain the concept.
      negatives: sentences that do not.
    """

    group: str
    name: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]

    @property
    def key(self) -> str:
        """`group/name`, which names the concept everywhere."""
        return f"{self.group}/{self.name}"


def read_concepts(folder: Path) -> list[Concept]:
    """Reads all concepts of a folder.

    Raises:
      InputError: lists everything that is wrong with the folder's files.
    """
    if not folder.is_dir():
        raise InputError(f"--concepts={folder}: no such folder")
    rows = _read_list(folder / "concept_list.csv")
    concepts, problems = [], []
    for group, name in rows:
        path = folder / group / f"{name}.json"
        try:
            concepts.append(_read_concept(path, group, name))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(
            join_problems(f"{folder}: concepts that cannot be used:", problems)
        )
    return concepts


def check_name(name: str, what: str) -> None:
    """Refuses names that could leave the output folder or hide in it.

    Raises:
      InputError: the name is not safe as one component of a path.
    """
    if not _NAME.fullmatch(name) or name != name.strip():
        raise InputError(
            f"{what} {name!r} is no valid name: letters, digits and _ . , - + ' only, "
            "beginning with a letter or digit"
        )


def _read_list(path: Path) -> list[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or []
            if not {"group", "concept"} <= set(columns):
                raise InputError(
                    f"{path}: expected the columns group,concept; got "
                    f"{','.join(columns) or 'nothing'}"
                )
            rows = [(row["group"] or "", row["concept"] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from error
    problems = []
    for line, (group, name) in enumerate(rows, start=2):
        for value, what in ((group, "group"), (name, "concept")):
            try:
                check_name(value, f"line {line}: {what}")
            except InputError as error:
                problems.append(str(error))
        if (group, name) in rows[: line - 2]:
            problems.append(f"line {line}: {group}/{name} is listed twice")
    if not rows:
        problems.append("no concept is listed")
    if problems:
        raise InputError(join_problems(f"{path}:", problems))
    return rows


def _read_concept(path: Path, group: str, name: str) -> Concept:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    try:
        sentences = content["sentences"]
        positives, negatives = sentences["positive"], sentences["negative"]
        named = str(content["group"]), str(content["concept"])
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{path}: expected the keys concept, group, sentences.positive and "
            f"sentences.negative; {error} is missing"
        ) from error
    if named != (group, name):
        raise InputError(
            f"{path}: says it is {'/'.join(named)}, but concept_list.csv calls it "
            f"{group}/{name}"
        )
    _check_sentences(path, "positive", positives)
    _check_sentences(path, "negative", negatives)
    return Concept(group, name, tuple(positives), tuple(negatives))


def _check_sentences(path: Path, label: str, sentences: Any) -> None:
    if not isinstance(sentences, list) or not sentences:
        raise InputError(f"{path}: sentences.{label} should be a list and not empty")
    for number, sentence in enumerate(sentences):
        if not isinstance(sentence, str) or not sentence.strip():
            raise InputError(
                f"{path}: sentences.{label}[{number}] is {sentence!r}; expected text"
            )
