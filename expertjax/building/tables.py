"""Labelled tables as a source: a text and its concept on each row.

CSV with columns, or JSONL with keys: `text`, `concept`, and where wanted `group` and
`label` (1 or 0). A row with a concept is a positive of it, or with label 0 a negative
of it; a row without a concept is a negative of every concept. Concepts that have no
negatives either way take the other concepts' positives.
"""

import collections
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from expertjax.building.drafts import NONE, Draft, Drafts
from expertjax.building.settings import BuildSettings
from expertjax.concepts.files import check_columns, check_name, parse_json
from expertjax.errors import InputError, join_problems

GROUP = "table"
_KEYS = ("text", "concept", "group", "label")
_LABELS = {"": True, "1": True, "0": False}

Row = dict[str, str]


def read_table(path: str | Path, settings: BuildSettings) -> Drafts:
    """Drafts out of a `.csv` or `.jsonl` file.

    Raises:
      InputError: the file cannot be read, has other columns, or its rows contradict
        each other.
    """
    path = Path(path)
    left_out: collections.Counter[str] = collections.Counter()
    row_of: dict[str, int] = {}
    labelled: dict[tuple[str, str], dict[int, bool]] = {}
    common: dict[int, None] = {}
    problems = []
    for line, row in _read_rows(path):
        text = " ".join(row["text"].split())
        try:
            is_positive = _check(row, line)
        except InputError as error:
            problems.append(str(error))
            continue
        if problem := settings.fits(text):
            left_out[problem] += 1
            continue
        number = row_of.setdefault(text, len(row_of))
        if not row["concept"]:
            common[number] = None
            continue
        labels = labelled.setdefault((row["group"] or GROUP, row["concept"]), {})
        if number in labels:
            left_out["rows that occurred before"] += 1
        if labels.setdefault(number, is_positive) != is_positive:
            problems.append(
                f"line {line}: {text[:40]!r} is both positive and negative of "
                f"{row['concept']}"
            )
    if problems:
        raise InputError(join_problems(f"{path}:", problems))
    drafts = [
        _draft(group, name, labels, common)
        for (group, name), labels in labelled.items()
        if any(labels.values()) or left_out.update(["concepts without a positive"])
    ]
    return Drafts("table", list(row_of), drafts, left_out)


def _draft(
    group: str, name: str, labels: dict[int, bool], common: dict[int, None]
) -> Draft:
    positives = [row for row, label in labels.items() if label]
    given = [row for row, label in labels.items() if not label]
    negatives = dict.fromkeys([*given, *common])
    return Draft(
        group,
        name,
        np.array(positives, np.int32),
        NONE,
        np.array(list(negatives), np.int32) if negatives else None,
        words=(name.replace("_", " "),),
    )


def _check(row: Row, line: int) -> bool:
    """Whether the row is a positive; raises InputError where it makes no sense."""
    if not row["text"].strip():
        raise InputError(f"line {line}: no text")
    if row["label"] not in _LABELS:
        raise InputError(f"line {line}: label {row['label']!r}; expected 1 or 0")
    if row["concept"]:
        check_name(row["concept"], f"line {line}: concept")
        check_name(row["group"] or GROUP, f"line {line}: group")
    return _LABELS[row["label"]]


def _read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl}
    if path.suffix not in readers:
        raise InputError(f"--input={path}: expected a .csv or .jsonl file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        yield from readers[path.suffix](path, text)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--input={path}: cannot be read ({error})") from error


def _read_csv(path: Path, text: str) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restval="")
    columns: Sequence[str] = reader.fieldnames or ()
    if not {"text", "concept"} <= set(columns):
        raise InputError(
            f"{path}: expected the columns text,concept (and group,label where "
            f"wanted); got {','.join(columns) or 'nothing'}"
        )
    check_columns(columns, str(path))
    for row in reader:
        if None in row:
            raise InputError(
                f"{path}, line {reader.line_num}: more than {len(columns)} columns"
            )
        yield reader.line_num, {key: (row.get(key) or "").strip() for key in _KEYS}


def _read_jsonl(path: Path, text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: no JSON ({error})") from error
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise InputError(
                f"{path}, line {number}: expected an object with the keys text and "
                "concept (and group, label where wanted)"
            )
        yield number, {key: _as_text(row.get(key)) for key in _KEYS}


def _as_text(value: object) -> str:
    """As a cell of CSV would have it."""
    if value is None:
        return ""
    return str(int(value) if isinstance(value, bool) else value).strip()
