"""Running text: WordNet, the Brown corpus and plain files."""

from pathlib import Path

import pytest

from expertjax.building.corpora import detokenise, read_texts
from expertjax.errors import InputError

BROWN = """

\tThe/at jury/nn said/vbd ,/, ``/`` It/pps isn't/bez* so/rb ''/'' ./.


\tIs/bez 1/2/cd of/in and/or/cc enough/ap (/( or/cc not/* )/) ?/. ?/.

./.
"""


def brown(folder: Path, text: str) -> str:
    (folder / "ca01").write_text(text)
    (folder / "README").write_text("not a sample")
    return f"brown:{folder}"


def test_wordnet_lines(tiny_wordnet: Path):
    lines = read_texts(f"wordnet:{tiny_wordnet}")
    assert lines[0] == "Animal: a living organism."
    assert lines[1:3] == [
        "Bird: warm-blooded vertebrates with feathers; lay eggs.",
        "The bird sang all day.",
    ]
    assert "Raptor, bird of prey: any of many carnivorous hunters of the air." in lines
    assert lines[-2:] == ["Badly: in a bad way.", "He sings badly."]
    assert lines == read_texts(f"wordnet:{tiny_wordnet}")


def test_brown_lines(tmp_path: Path):
    assert read_texts(brown(tmp_path, BROWN)) == [
        'The jury said, "It isn\'t so."',
        "Is 1/2 of and/or enough (or not)?",
    ]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("He lived in Washington , D.C. .", "He lived in Washington, D.C."),
        ("No ! !", "No!"),
        ("`` Go '' , he said ; ;", '"Go," he said;'),
        ("the ' key ' word", "the 'key' word"),
        ("wait -- please", "wait -- please"),
        ("A & M won 7 - 1 .", "A & M won 7 - 1."),
        ("( see [ 2 ] )", "(see [2])"),
        ("", ""),
    ],
)
def test_detokenise(tokens: str, text: str):
    assert detokenise(tokens.split()) == text


def test_text_file(tmp_path: Path):
    path = tmp_path / "some.txt"
    path.write_text("one line\n\n  another: é  \n", encoding="utf-8")
    assert read_texts(str(path)) == ["one line", "another: é"]


def test_brown_token_without_tag(tmp_path: Path):
    with pytest.raises(InputError, match=r"ca01, line 2: token 'jury'"):
        read_texts(brown(tmp_path, "The/at\njury\n"))


def test_errors_name_the_source(tmp_path: Path):
    with pytest.raises(InputError, match="no file ca01"):
        read_texts(f"brown:{tmp_path}")
    with pytest.raises(InputError, match="not a folder"):
        read_texts(f"brown:{tmp_path}/nowhere")
    with pytest.raises(InputError, match=r"data\.noun: not found"):
        read_texts(f"wordnet:{tmp_path}")
    with pytest.raises(InputError, match=r"nowhere\.txt: not found"):
        read_texts(f"{tmp_path}/nowhere.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_texts(str(tmp_path))


def test_empty_and_binary_files(tmp_path: Path):
    path = tmp_path / "empty.txt"
    path.write_text(" \n")
    with pytest.raises(InputError, match="holds no text"):
        read_texts(str(path))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        read_texts(str(path))


def test_real_wordnet(real_wordnet: Path):
    lines = read_texts(f"wordnet:{real_wordnet}")
    assert len(lines) > 160_000
    assert not [line for line in lines if line.startswith("- ")]  # attributions
    assert lines[0].startswith("Entity: that which is perceived")
    assert all(line[-1] in ".!?\"'" for line in lines)
