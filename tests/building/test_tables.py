"""Labelled tables."""

import json
from pathlib import Path

import pytest

from expertjax.building.settings import BuildSettings
from expertjax.building.tables import read_table
from expertjax.errors import InputError

ANY = BuildSettings(min_words=1, max_words=5)
ROWS = [
    {"text": "a ball", "concept": "toy"},
    {"text": "a doll", "concept": "toy", "label": 1},
    {"text": "a rock", "concept": "toy", "label": 0},
    {"text": "the  sea,", "concept": None},
    {"text": "a ship", "concept": "boat", "group": "craft", "label": True},
    {"text": "one two three four five six", "concept": "toy"},
]


def _write(folder: Path, kind: str) -> Path:
    path = folder / f"table.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    else:
        lines = ["text,concept,group,label"]
        for row in ROWS:
            cells = [row.get(key) for key in ("text", "concept", "group", "label")]
            shown = ["" if cell is None else f'"{cell}"' for cell in cells]
            lines.append(",".join(shown).replace('"True"', "1"))
        path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_become_concepts(tmp_path: Path, kind: str):
    drafts = read_table(_write(tmp_path, kind), ANY)
    assert drafts.texts == ["a ball", "a doll", "a rock", "the sea,", "a ship"]
    toy, boat = drafts.concepts
    assert (toy.key, boat.key) == ("table/toy", "craft/boat")
    assert toy.positives.tolist() == [0, 1]
    assert toy.negatives is not None and toy.negatives.tolist() == [2, 3]
    assert boat.negatives is not None and boat.negatives.tolist() == [3]
    assert drafts.left_out == {"sentences over 5 words": 1}


def test_without_negatives_those_of_others_serve(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("text,concept\na ball,toy\na ship,boat\n")
    toy, boat = read_table(path, ANY).concepts
    assert toy.negatives is None
    assert boat.may_be_negative(2).tolist() == [True, False]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "text,label\na,1\n", "expected the columns text,concept"),
        ("t.csv", "text,concept\na,b,c\n", "line 2: more than 2 columns"),
        ("t.csv", "text,concept\n,b\n", "line 2: no text"),
        ("t.csv", "text,concept,label\na,b,2\n", "label '2'; expected 1 or 0"),
        ("t.csv", "text,concept\na,../b\n", "no valid name"),
        ("t.csv", "text,concept,group\na,b,..\n", "no valid name"),
        ("t.csv", "text,concept,label\na,b,1\na,b,0\n", "both positive and negative"),
        ("t.jsonl", "{}\n", "expected an object with the keys"),
        ("t.jsonl", "{\n", "line 1: no JSON"),
        ("t.txt", "", r"expected a \.csv or \.jsonl"),
        ("t.csv", None, "cannot be read"),
    ],
)
def test_bad_tables(tmp_path: Path, name: str, text: str | None, message: str):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / name, ANY)
