"""Concept folders as a source: several are merged into one."""

import collections
import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from expertjax.building.archives import read_notices
from expertjax.building.drafts import Draft, Drafts
from expertjax.building.settings import BuildSettings
from expertjax.concepts.files import Concept, read_concepts
from expertjax.concepts.repeated import distinct, require_one_label
from expertjax.errors import InputError

# Words and meanings of a folder's concepts, for readers and reports.
DEFINITIONS = "definitions.csv"
_COLUMNS = ("group", "concept", "words", "definition")


def read_folders(folders: Sequence[str | Path], settings: BuildSettings) -> Drafts:
    """The concepts of all `folders`; each keeps to its own negatives.

    A concept that several folders have is that of the first.

    Raises:
      InputError: a folder cannot be read; see `from_concepts`.
    """
    concepts: dict[str, Concept] = {}
    known: dict[str, tuple[str, str]] = {}
    left_out: collections.Counter[str] = collections.Counter()
    notices: dict[str, str] = {}
    for folder in map(Path, folders):
        for concept in read_concepts(folder):
            if concept.key in concepts:
                left_out["concepts that an earlier --input has too"] += 1
            concepts.setdefault(concept.key, concept)
        for key, found in read_definitions(folder / DEFINITIONS).items():
            known.setdefault(key, found)
        for name, text in read_notices(folder).items():
            if notices.get(name, text) != text:
                name = f"{folder.name}.{name}"
            notices[name] = text
    drafts = from_concepts("merged", list(concepts.values()), settings, left_out)
    drafts.notices = notices
    for at, draft in enumerate(drafts.concepts):
        if draft.key in known:
            words, definition = known[draft.key]
            drafts.concepts[at] = dataclasses.replace(
                draft, words=tuple(words.split("; ")), definition=definition
            )
    return drafts


def from_concepts(
    source: str,
    concepts: Sequence[Concept],
    settings: BuildSettings,
    left_out: collections.Counter[str] | None = None,
) -> Drafts:
    """Drafts whose sentences are given; those of other lengths are left out.

    Raises:
      InputError: a sentence is positive and negative of one concept.
    """
    require_one_label(concepts)
    left_out = collections.Counter() if left_out is None else left_out
    row_of: dict[str, int] = {}

    def rows(texts: Sequence[str]) -> np.ndarray:
        kept = []
        once = distinct(texts)
        for text in once:
            if problem := settings.fits(text):
                left_out[problem] += 1
            else:
                kept.append(row_of.setdefault(text, len(row_of)))
        left_out["sentences listed twice in a concept"] += len(texts) - len(once)
        return np.array(kept, np.int32)

    drafts = [
        Draft(
            group=concept.group,
            name=concept.name,
            positives=rows(concept.positives),
            negatives=rows(concept.negatives),
            # No lexicon is at hand: what is listed first is kept of two alike.
            prominence=-at,
            words=_words(concept.name),
        )
        for at, concept in enumerate(concepts)
    ]
    return Drafts(source, list(row_of), drafts, left_out)


def write_definitions(drafts: Sequence[Draft]) -> str:
    """A CSV table of what concepts mean."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for draft in drafts:
        words = "; ".join(draft.words)
        writer.writerow([draft.group, draft.name, words, draft.definition])
    return table.getvalue()


def read_definitions(path: Path) -> dict[str, tuple[str, str]]:
    """`group/name` -> (words, definition); none where there is no such table.

    Raises:
      InputError: the table cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
            return {
                f"{row['group']}/{row['concept']}": (row["words"], row["definition"])
                for row in rows
            }
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise InputError(
            f"{path}: cannot be read as CSV with {','.join(_COLUMNS)} ({error!r})"
        ) from error


def _words(name: str) -> tuple[str, ...]:
    """The word in a name such as `body_of_water-1_17_00__`."""
    return (name.partition("-")[0].replace("_", " ").strip(),)
