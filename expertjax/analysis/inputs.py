"""The tables a comparison takes from its user: benchmark scores, groups of concepts."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from expertjax.building.wordnet import read_wordnet
from expertjax.building.wordnet_groups import wordnet_groups
from expertjax.concepts.files import check_name
from expertjax.concepts.names import short_name
from expertjax.errors import InputError, join_problems
from expertjax.home import expand_home
from expertjax.stores import paths

_WORDNET = "wordnet:"


def read_benchmark(path: Path | str) -> tuple[str, dict[str, float]]:
    """Reads one benchmark: a CSV file with the columns model,score.

    Returns:
      its name, that of the file, and model -> score.

    Raises:
      InputError: lists everything that is wrong with the file.
    """
    path = paths.as_path(path)
    name = path.stem.removeprefix("benchmark_")  # as probe_models calls its files
    check_name(name, f"--benchmark_csv={path}: the name")
    scores: dict[str, float] = {}
    problems = []
    for line, (model, text) in _rows(path, ("model", "score"), "--benchmark_csv"):
        try:
            score = float(text)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            problems.append(f"line {line}: score {text!r} is no number")
        if model in scores:
            problems.append(f"line {line}: the model {model!r} is listed twice")
        scores[model] = score
    if problems:
        raise InputError(join_problems(f"--benchmark_csv={path}:", problems))
    return name, scores


def read_benchmarks(files: Sequence[Path | str]) -> dict[str, dict[str, float]]:
    """Reads benchmarks: name -> model -> score.

    Raises:
      InputError: see `read_benchmark`; or two files have one name.
    """
    found: dict[str, dict[str, float]] = {}
    for file in files:
        name, scores = read_benchmark(file)
        if name in found:
            raise InputError(
                f"--benchmark_csv={file}: another file is called {name} too; rename one"
            )
        found[name] = scores
    return found


def read_groups(source: str, concepts: Sequence[str], depth: int = 0) -> pd.DataFrame:
    """The groups of some concepts: rows concept, group.

    Args:
      source: `wordnet:FOLDER` (see `building.wordnet_groups`), or a CSV file with the
        columns concept,group, where a concept is `group/name`, its bare name or its
        short one, "bird".
      concepts: `group/name`.
      depth: for WordNet.

    Raises:
      InputError: the file is not as expected, or no concept has a group.
    """
    source = expand_home(source)
    if source.startswith(_WORDNET):
        return wordnet_groups(
            concepts, read_wordnet(source.removeprefix(_WORDNET)), depth
        )
    path = paths.as_path(source)
    keys_of: dict[str, list[str]] = {}
    for key in concepts:
        for name in {key, key.partition("/")[2], short_name(key)}:
            keys_of.setdefault(name, []).append(key)
    rows = [
        (key, group)
        for _, (name, group) in _rows(path, ("concept", "group"), "--groups")
        for key in keys_of.get(name, [])
    ]
    if not rows:
        raise InputError(
            f"--groups={path}: names none of the results' concepts, "
            f"such as {', '.join(list(concepts)[:3])}"
        )
    return pd.DataFrame(rows, columns=["concept", "group"]).drop_duplicates()


def _rows(
    path: Path, columns: tuple[str, str], flag: str
) -> list[tuple[int, tuple[str, str]]]:
    """Line numbers and the two fields of a CSV file with exactly these columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{flag}={path}: cannot be read as CSV ({error})") from error
    if tuple(header) != columns:
        raise InputError(
            f"{flag}={path}: expected the columns {','.join(columns)}; got "
            f"{','.join(header) or 'nothing'}"
        )
    problems = [
        f"line {line}: expected two fields with something in them, got {row}"
        for line, row in rows
        if len(row) != 2 or not all(field.strip() for field in row)
    ]
    if not rows:
        problems = ["has no rows"]
    if problems:
        raise InputError(join_problems(f"{flag}={path}:", problems))
    return [(line, (row[0].strip(), row[1].strip())) for line, row in rows]
