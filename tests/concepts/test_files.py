import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expertjax.concepts.files import check_name, read_concepts
from expertjax.errors import InputError

SENTENCES = {"positive": ["A crow flew."], "negative": ["A chair stood.", "Rain."]}


def write_folder(folder: Path, *keys: str, header: str = "group,concept") -> Path:
    """A sound concept folder, for tests to break."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "concept_list.csv").open("w", newline="") as file:
        file.write(header + "\n")
        csv.writer(file).writerows(key.split("/", 1) for key in keys)
    for key in keys:
        group, _, name = key.partition("/")
        write_json(folder, key, content(group, name))
    return folder


def content(group: str, name: str) -> dict[str, Any]:
    return {"group": group, "concept": name, "sentences": dict(SENTENCES)}


def write_json(folder: Path, key: str, value: Any) -> None:
    path = folder / f"{key}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_concepts(folder)
    return str(caught.value)


def test_reads_concepts_in_the_order_of_the_list(tmp_path: Path):
    write_folder(tmp_path, "sense/crow-1_05_00__", "homograph/crow", "sense/ärger 2")
    concepts = read_concepts(tmp_path)
    assert [c.key for c in concepts] == [
        "sense/crow-1_05_00__",
        "homograph/crow",
        "sense/ärger 2",
    ]
    assert concepts[0].positives == ("A crow flew.",)
    assert concepts[0].negatives == ("A chair stood.", "Rain.")


def test_further_columns_keys_and_byte_order_marks_do_no_harm(tmp_path: Path):
    write_folder(tmp_path, "sense/crow")
    listed = "\ufeffsource,concept,group\r\nx,crow,sense\r\n\r\n"
    (tmp_path / "concept_list.csv").write_text(listed, "utf-8")
    extra = content("sense", "crow") | {"source": "wordnet"}
    write_json(tmp_path, "sense/crow", "\ufeff" + json.dumps(extra))
    assert [c.key for c in read_concepts(tmp_path)] == ["sense/crow"]


def test_a_missing_folder_or_list_is_named(tmp_path: Path):
    assert f"--concepts={tmp_path / 'none'}" in refusal(tmp_path / "none")
    assert str(tmp_path / "concept_list.csv") in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "got nothing"),
        (b"name,kind\ncrow,sense\n", "expected the columns group,concept; got name"),
        (b"group;concept\nsense;crow\n", "expected the columns group,concept"),
        (b"group,concept\n", "no concept is listed"),
        (b"group,concept,group\nx,crow,y\n", "the column 'group' stands there twice"),
        (b'group,concept\nsense,"crow\n', "cannot be read as CSV"),
        (b'group,concept\nsense,"crow"s\n', "cannot be read as CSV"),
        (b"group,concept\nsense,\xff\xfe\n", "cannot be read as CSV"),
        (b"group,concept\nsense\n", "line 2: concept ''"),
        (b"group,concept\nsense,crow,bird\n", "line 2: has more than 2 columns"),
        (b"group,concept\n\n\nsense,../crow\n", "line 4: concept '../crow'"),
    ],
)
def test_a_malformed_list_is_refused(tmp_path: Path, text: bytes, expected: str):
    write_folder(tmp_path, "sense/crow")
    (tmp_path / "concept_list.csv").write_bytes(text)
    message = refusal(tmp_path)
    assert str(tmp_path / "concept_list.csv") in message
    assert expected in message


def test_a_concept_that_is_listed_twice_is_refused(tmp_path: Path):
    write_folder(tmp_path, "sense/crow", "homograph/crow", "sense/crow")
    message = refusal(tmp_path)
    assert "line 4: sense/crow is listed twice" in message
    assert "homograph" not in message


def test_all_problems_of_the_list_are_told_together(tmp_path: Path):
    write_folder(tmp_path, "sense/crow")
    rows = "group,concept\n..,crow\nsense,a/b\nsense,crow\nsense,crow\n"
    (tmp_path / "concept_list.csv").write_text(rows)
    message = refusal(tmp_path)
    for line in ("line 2: group", "line 3: concept", "line 5: sense/crow is listed"):
        assert line in message


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/b", "/a", "a\\b", ".hidden", "_a", "-a", " a"),
        *(
            "a ",
            "a\n",
            "a\nb",
            "a\0b",
            "a<b>",
            'a"b',
            "a|b",
            "a:b",
            "a*",
            "a?",
            "a%b",
            "a;b",
        ),
        *("a`b", "$a", "a\u202eb", "a\u2028b"),
    ],
)
def test_names_that_could_do_harm_are_refused(name: str):
    with pytest.raises(InputError, match="concept"):
        check_name(name, "concept")


@pytest.mark.parametrize(
    "name",
    [
        *("football-1_04_00__", "a", "1", "ice cream", "o'clock-1_28_00__", "Ærø"),
        *("rock'n'roll", "U.S.", "a+b", "R&D", "Qwen2.5-0.5B", "犬"),
    ],
)
def test_names_of_real_concepts_and_models_pass(name: str):
    check_name(name, "concept")


Change = Callable[[dict[str, Any]], Any]


def without(*path: str) -> Change:
    def change(value: dict[str, Any]) -> dict[str, Any]:
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        return value

    return change


def twice(value: dict[str, Any], key: str) -> str:
    """The concept as JSON where one key stands twice."""
    return json.dumps(value).replace(key, f'{key} ["First."], {key}', 1)


def having(label: str, sentences: Any) -> Change:
    def change(value: dict[str, Any]) -> dict[str, Any]:
        value["sentences"][label] = sentences
        return value

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _: "{", "cannot be read as JSON"),
        (lambda _: "", "cannot be read as JSON"),
        (lambda _: "[" * 100_000, "cannot be read as JSON"),
        (lambda v: twice(v, '"group": '), "the key 'group' stands there twice"),
        (lambda v: twice(v, '"positive": '), "the key 'positive' stands there twice"),
        (lambda _: None, "missing: concept, group, sentences.positive"),
        (lambda _: ["sentences"], "missing: concept, group, sentences.positive"),
        (without("concept"), "missing: concept"),
        (without("group"), "missing: group"),
        (without("sentences"), "missing: sentences.positive, sentences.negative"),
        (without("sentences", "positive"), "missing: sentences.positive"),
        (without("sentences", "negative"), "missing: sentences.negative"),
        (lambda v: v | {"sentences": ["x"]}, "missing: sentences.positive"),
        (lambda v: v | {"concept": "rook"}, "is sense/rook"),
        (lambda v: v | {"group": None}, "is None/crow"),
        (having("positive", []), "sentences.positive should be a list and not empty"),
        (having("negative", []), "sentences.negative should be a list and not empty"),
        (having("negative", "Rain."), "sentences.negative should be a list"),
        (having("negative", {"a": 1}), "sentences.negative should be a list"),
        (having("negative", ["Rain.", ""]), "sentences.negative[1] is ''"),
        (having("positive", [" \t\n"]), "sentences.positive[0] is ' \\t\\n'"),
        (having("positive", ["Rain.", None]), "sentences.positive[1] is None"),
        (having("positive", ["Rain.", 3]), "sentences.positive[1] is 3"),
        (having("positive", ["A \ud800"]), "not valid Unicode"),
    ],
)
def test_a_malformed_concept_is_refused(tmp_path: Path, change: Change, expected: str):
    write_folder(tmp_path, "sense/crow")
    write_json(tmp_path, "sense/crow", change(content("sense", "crow")))
    message = refusal(tmp_path)
    assert str(tmp_path / "sense" / "crow.json") in message
    assert expected in message


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path):
    write_folder(tmp_path, "sense/crow")
    (tmp_path / "sense" / "crow.json").write_bytes(b'{"concept": "\xff"}')
    assert "crow.json: cannot be read as JSON" in refusal(tmp_path)


def test_all_problems_of_all_concepts_are_told_together(tmp_path: Path):
    write_folder(tmp_path, "sense/crow", "sense/rook", "sense/jay", "sense/daw")
    both = {"positive": [], "negative": [""]}
    write_json(tmp_path, "sense/crow", content("sense", "crow") | {"sentences": both})
    (tmp_path / "sense" / "rook.json").unlink()
    write_json(tmp_path, "sense/daw", "[]")
    message = refusal(tmp_path)
    assert "sentences.positive should be a list and not empty" in message
    assert "sentences.negative[0] is ''" in message
    assert "rook.json: cannot be read as JSON" in message
    assert "daw.json: expected the keys" in message
    assert "jay" not in message


@pytest.mark.parametrize(
    "name", ["हिन्दी", "ไทย", "mu\u0301sica", "a\u0308 b", "е\u0308"]
)
def test_letters_may_have_marks(tmp_path: Path, name: str):
    check_name(name, "concept")
    write_folder(tmp_path, f"भाषा/{name}")
    assert [one.key for one in read_concepts(tmp_path)] == [f"भाषा/{name}"]


@pytest.mark.parametrize(
    "name",
    ["\u0301a", " \u0301a", "a\ufe0f", "a\u034f", "a\u200db", "a\u202eb", "\u0301"],
)
def test_marks_alone_and_what_shows_nothing_are_refused(name: str):
    with pytest.raises(InputError, match="letters with their marks"):
        check_name(name, "concept")


def test_two_spellings_of_a_name_are_one(tmp_path: Path):
    write_folder(tmp_path, "sense/m\u00fasica", "sense/mu\u0301sica")
    assert "line 3: sense/mu\u0301sica is listed twice" in refusal(tmp_path)
