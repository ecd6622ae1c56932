"""Writes concept folders in the format of ml-selfcond (the reference).

OUT/concept_list.csv      columns group,concept
OUT/concepts.csv          a table for people: sizes and lengths
OUT/GROUP/CONCEPT.json    concept, group, source, sentences
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from expertjax.concepts.files import Concept, check_name
from expertjax.concepts.repeated import under_both_labels
from expertjax.errors import InputError, join_problems


def write_concepts(
    concepts: Sequence[Concept],
    out: str | Path,
    source: str,
    overwrite: bool = False,
    notices: Mapping[str, str] | None = None,
) -> Path:
    """Writes `concepts` to the folder `out`, all of it or nothing.

    Args:
      concepts: at least one; sorted by name on the way out.
      out: the folder to make; its parents are made too.
      source: where the sentences are from, e.g. "wordnet"; written in each file.
      overwrite: replace `out` where it is a concept folder already.
      notices: further files for the top of the folder, name -> text, such as
        the licence of the sentences.

    Raises:
      InputError: nothing to write, a concept is unusable, `out` is in the way
        or the disk refuses.
    """
    out = Path(out).absolute()
    concepts = sorted(concepts, key=lambda concept: concept.key)
    _check_concepts(concepts)
    check_target(out, overwrite)
    # A sibling, so that the final rename stays on one file system.
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        for path, text in _files(concepts, source, notices or {}):
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            (partial / path).write_text(text, encoding="utf-8", newline="\n")
        _replace(partial, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _files(
    concepts: Sequence[Concept], source: str, notices: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """(path, text), one after the other: a large set is never all in memory."""
    yield from notices.items()
    names = [[one.group, one.name] for one in concepts]
    yield "concept_list.csv", _csv(["group", "concept"], names)
    columns = ["concept", "group", "n_pos", "n_neg", "mean_words"]
    yield "concepts.csv", _csv(columns, [_summary(one) for one in concepts])
    for one in concepts:
        sentences = {"positive": one.positives, "negative": one.negatives}
        content = {
            "concept": one.name,
            "group": one.group,
            "source": source,
            "sentences": sentences,
        }
        text = json.dumps(content, ensure_ascii=False, indent=1)
        yield f"{one.key}.json", text + "\n"


def _summary(one: Concept) -> list[object]:
    n_words = [len(text.split()) for text in one.positives + one.negatives]
    mean = f"{sum(n_words) / len(n_words):.1f}"
    return [one.name, one.group, len(one.positives), len(one.negatives), mean]


def _csv(columns: list[str], rows: Sequence[Sequence[object]]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return table.getvalue()


def _check_concepts(concepts: Sequence[Concept]) -> None:
    """Raises InputError with all that a reader would refuse later."""
    problems, seen = [], set()
    for one in concepts:
        try:
            check_name(one.group, "group")
            check_name(one.name, "concept")
        except InputError as error:
            problems.append(str(error))
        if one.key in seen:
            problems.append(f"{one.key}: given twice")
        seen.add(one.key)
        if not one.positives or not one.negatives:
            problems.append(f"{one.key}: needs positive and negative sentences")
        if both := under_both_labels(one):
            problems.append(f"{one.key}: both positive and negative: {min(both)!r}")
    if not concepts:
        problems.append("no concept at all")
    if problems:
        raise InputError(join_problems("concepts cannot be written:", problems))


def check_target(out: Path, overwrite: bool) -> None:
    """Refuses to write where something else stands.

    Raises:
      InputError: `out` is a file, or a folder that may not be replaced.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; expected the name of a folder (--out)")
    if not out.exists() or not any(out.iterdir()):
        return
    if not overwrite:
        raise InputError(
            f"{out}: exists and is not empty; choose another --out or pass --overwrite"
        )
    # Guards a folder of other things against a slip in --out.
    if not (out / "concept_list.csv").is_file():
        raise InputError(
            f"{out}: holds no concept_list.csv, so it is not replaced; choose "
            "another --out or empty it yourself"
        )


def _replace(partial: Path, out: Path) -> None:
    old = out.with_name(f".{out.name}.old-{os.getpid()}")
    if out.exists():
        out.rename(old)
    try:
        partial.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
