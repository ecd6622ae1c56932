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
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expertjax.errors import InputError, join_problems

_LABELS = ("positive", "negative")
# What JSON can spell but UTF-8, and so no tokenizer, can.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# A name becomes part of a path: no separators, no leading dot, nothing hidden.
_NAME = re.compile(r"[^\W_.][\w .,+'()&=@~!-]*", re.UNICODE)
# Accents and vowel signs, which belong to the letter before; not those that show
# nothing (joiners, variation selectors).
_MARKS = ("Mn", "Mc")
_UNSEEN = re.compile(
    "[\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)


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
    bare = "".join(c for c in name if unicodedata.category(c) not in _MARKS)
    good = _NAME.fullmatch(bare) and name[0] == bare[0] and name == name.strip()
    if not good or _UNSEEN.search(name):
        raise InputError(
            f"{what} {name!r} is no valid name: letters with their marks, digits and "
            "_ . , - + ' only, beginning with a letter or digit"
        )


def parse_json(text: str) -> Any:
    """What JSON says, where no object has a key twice.

    Raises:
      ValueError: no JSON, or a key that stands twice, of which the standard library
        would keep the last.
    """
    return json.loads(text, object_pairs_hook=_distinct)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands there twice; keep one")
    return content


def check_columns(found: Sequence[str], named: str) -> None:
    """Refuses a table with a column twice, of which readers would keep the last.

    Args:
      found: its columns.
      named: the file, for the error.

    Raises:
      InputError: names the column.
    """
    for column in found:
        if found.count(column) > 1:
            raise InputError(f"{named}: the column {column!r} stands there twice")


def read_csv(
    path: Path, columns: Sequence[str], flag: str = ""
) -> list[tuple[int, dict[str, Any]]]:
    """Line numbers and rows of a CSV file that has some columns, perhaps more.

    Args:
      path: of the file.
      columns: that it has to have.
      flag: that gave the path, for errors.

    Returns:
      rows as `csv.DictReader` gives them: None where a field is missing, fields
      beyond the columns under the key None.

    Raises:
      InputError: it cannot be read, a column is missing or there twice.
    """
    named = f"{flag}={path}" if flag else str(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            found = reader.fieldnames or []
            if not set(columns) <= set(found):
                raise InputError(
                    f"{named}: expected the columns {','.join(columns)}; got "
                    f"{','.join(found) or 'nothing'}"
                )
            check_columns(found, named)
            return [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{named}: cannot be read as CSV ({error})") from error


def _read_list(path: Path) -> list[tuple[str, str]]:
    """[C] (group, name) of `concept_list.csv`."""
    rows = read_csv(path, ("group", "concept"))
    names: dict[tuple[str, str], None] = {}
    alike: set[str] = set()  # some file systems take two spellings for one name
    problems = []
    for line, row in rows:
        group, name = row["group"] or "", row["concept"] or ""
        for value, what in ((group, "group"), (name, "concept")):
            try:
                check_name(value, f"line {line}: {what}")
            except InputError as error:
                problems.append(str(error))
        if None in row:
            problems.append(f"line {line}: has more than {len(row) - 1} columns")
        key = unicodedata.normalize("NFC", f"{group}/{name}")
        if key in alike:
            problems.append(f"line {line}: {group}/{name} is listed twice")
        alike.add(key)
        names[group, name] = None
    if not rows:
        problems.append("no concept is listed")
    if problems:
        raise InputError(join_problems(f"{path}:", problems))
    return list(names)


def _read_concept(path: Path, group: str, name: str) -> Concept:
    try:
        content = parse_json(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    content = content if isinstance(content, dict) else {}
    sentences = content.get("sentences")
    sentences = sentences if isinstance(sentences, dict) else {}
    missing = [key for key in ("concept", "group") if key not in content]
    missing += [f"sentences.{key}" for key in _LABELS if key not in sentences]
    if missing:
        raise InputError(
            f"{path}: expected the keys concept, group, sentences.positive and "
            f"sentences.negative; missing: {', '.join(missing)}"
        )
    named = f"{content['group']}/{content['concept']}"
    problems = []
    if named != f"{group}/{name}":
        problems.append(f"is {named}, but concept_list.csv calls it {group}/{name}")
    for label in _LABELS:
        problems += first_problem(f"sentences.{label}", sentences[label])
    if problems:
        raise InputError(f"{path}: {'; '.join(problems)}")
    positives, negatives = (tuple(sentences[label]) for label in _LABELS)
    return Concept(group, name, positives, negatives)


def first_problem(what: str, sentences: Any) -> list[str]:
    """What is wrong with a list of sentences, first of all; [] if nothing is."""
    if not isinstance(sentences, list) or not sentences:
        return [f"{what} should be a list and not empty"]
    for number, text in enumerate(sentences):
        if not isinstance(text, str) or not text.strip():
            return [f"{what}[{number}] is {text!r}; expected text"]
        if _LONE_SURROGATE.search(text):
            return [f"{what}[{number}] is {text!r}, which is not valid Unicode"]
    return []
