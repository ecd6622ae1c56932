"""The unified format of word sense evaluation."""

from pathlib import Path

import pytest

from expertjax.building.tagged import Word
from expertjax.building.wsd_xml import read_wsd
from expertjax.errors import InputError

DATA = """<?xml version="1.0" encoding="UTF-8"?>
<corpus lang="en" source="tiny"><text id="d0">
<sentence id="d0.s0">
<wf lemma="the" pos="DET">The</wf>
<instance id="d0.s0.t0" lemma="bird_of_prey" pos="NOUN">birds of prey</instance>
<wf lemma="&quot;" pos=".">&quot;</wf>
<wf lemma="crow" pos="NOUN">crow</wf>
</sentence></text></corpus>"""
GOLD = "d0.s0.t0 bird_of_prey%1:05:00:: raptor%1:05:00::\n"


def _write(folder: Path, data: str = DATA, gold: str | None = GOLD) -> Path:
    (folder / "deep").mkdir()
    (folder / "deep" / "tiny.data.xml").write_text(data)
    if gold is not None:
        (folder / "deep" / "tiny.gold.key.txt").write_text(gold)
    return folder


def test_words_and_their_senses(tmp_path: Path):
    (words,) = read_wsd(_write(tmp_path))
    keys = ("bird_of_prey%1:05:00::", "raptor%1:05:00::")
    assert words == [
        Word("The", "", (), "the"),
        Word("birds_of_prey", "n", keys, "bird_of_prey"),
        Word('"', "", (), '"'),
        Word("crow", "n", (), "crow"),
    ]


BOMB = DATA.replace("<corpus", '<!DOCTYPE c [<!ENTITY a "aaaa">]><corpus', 1)


@pytest.mark.parametrize(
    ("data", "gold", "message"),
    [
        (BOMB, GOLD, "declares a document type"),
        (DATA[:-20], GOLD, "cannot be read as XML"),
        ("", GOLD, "cannot be read as XML"),
        (DATA, None, r"tiny\.gold\.key\.txt is not"),
        (DATA, "d0.s0.t0\n", "line 1"),
        (DATA, GOLD + "x y\n", "line 2"),
        (DATA, GOLD + "\n", "line 2"),
    ],
)
def test_damaged_files(tmp_path: Path, data: str, gold: str | None, message: str):
    with pytest.raises(InputError, match=message):
        list(read_wsd(_write(tmp_path, data, gold)))


def test_nothing_of_the_kind(tmp_path: Path):
    with pytest.raises(InputError, match=r"holds no \*\.data\.xml"):
        list(read_wsd(tmp_path))
