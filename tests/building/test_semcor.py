"""SemCor's files."""

from pathlib import Path

import pytest

from expertjax.building.semcor import read_semcor
from expertjax.building.tagged import Word
from expertjax.errors import InputError
from tests.building.corpora import document, plain, semcor_tar, sentence, tagged

QUOTED = sentence(plain("The"), tagged("crows", "crow%1:05:00::"))
BARE = (
    "<s snum=2>\n<wf cmd=done rdf=person pos=NNP lemma=person wnsn=1 lexsn=1:03:00:: "
    "pn=person>Tom_Crow</wf>\n<wf cmd=done pos=VB lemma=fly wnsn=1 lexsn=2:38:00::>"
    "flew</wf>\n<punc>&amp;</punc>\n<punc>&amp;</punc>\n</s>\n"
)
UNSURE = sentence(
    tagged("bat", "bat%1:06:01::", number="0"),
    tagged("years", "year%1:28:02::;year%1:28:01::", number="2;1"),
    tagged("seven", part="CD"),
    tagged("up", part="RP"),
)


def test_words_and_their_senses(tmp_path: Path):
    path = semcor_tar(
        tmp_path / "semcor.tar.xz",
        {
            "brown2/tagfiles/br-b01": document(UNSURE),
            "brown1_br-a01": document(QUOTED, BARE),
            "brownv_br-a03": "not even read",
            "other": "nor this",
        },
    )
    first, second, third = read_semcor(path)
    assert first[0] == Word("The")
    assert first[1] == Word("crows", "n", ("crow%1:05:00::",), "crow")
    assert second[0] == Word("Tom_Crow", "n", name="person%1:03:00::")
    assert second[1] == Word("flew", "v", ("fly%2:38:00::",), "fly")
    assert [word.form for word in second[2:]] == ["..."]
    assert third[0] == Word("bat", "n", lemma="bat")
    assert third[1].senses == ("year%1:28:02::", "year%1:28:01::")
    assert [word.part for word in third[2:]] == ["an", "", ""]


def test_brownv_is_for_verbs_alone(tmp_path: Path):
    path = semcor_tar(tmp_path / "a.tar.xz", {"brownv_br-a03": document(QUOTED)})
    assert len(list(read_semcor(path, frozenset("v")))) == 1
    with pytest.raises(InputError, match="no file of SemCor"):
        list(read_semcor(path, frozenset("nv")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<p>\n<wf pos=NN>x</wf>\n", "line 2: <wf> outside of a sentence"),
        ("<s snum=1>\n<wf pos=NN>x</wf>\n", "ends inside of a sentence"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, text: str, message: str):
    path = semcor_tar(tmp_path / "a.tar.xz", {"brown1_br-a01": text})
    with pytest.raises(InputError, match=message) as caught:
        list(read_semcor(path))
    assert "brown1_br-a01" in str(caught.value)
