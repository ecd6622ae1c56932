"""Reads SemCor: parts of the Brown corpus with a WordNet sense at each content word.

The files are SGML without quoting rules that anyone keeps: attributes stand bare in
Princeton's release and quoted in others, one `<wf ...>form</wf>` or
`<punc>mark</punc>` a line.

`brown1` and `brown2` are read. In `brownv` only verbs are tagged, so that a noun's
sense would hide among the negatives unseen; it is read for verbs alone.
"""

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from expertjax.building.archives import decode, read_files
from expertjax.building.tagged import Sentence, Word
from expertjax.errors import InputError

_FILE = re.compile(r"(?:.*/)?(brown[12v])(?:_|/(?:tagfiles/)?)br-[a-r]\d\d")
_ITEM = re.compile(r"<(s|wf|punc|/s)\b([^>]*)>([^<\n]*)")
_ATTRIBUTE = re.compile(r"""([\w-]+)=(?:"([^"]*)"|([^\s">]*))""")
# Tags begin with the part of speech; WordNet has cardinal numbers twice. Particles
# (RP) are in no dictionary.
_PARTS = {"N": "n", "V": "v", "J": "a", "R": "r", "CD": "an", "RP": ""}
# The senses of which SemCor says no more than "the name of a ...".
_NAMES = {
    "person": "person%1:03:00::",
    "group": "group%1:03:00::",
    "location": "location%1:03:00::",
}


def read_semcor(
    path: str | Path, parts: frozenset[str] = frozenset("n")
) -> Iterator[Sentence]:
    """Sentences of the SemCor in the folder or archive `path`, file by file.

    Args:
      path: holds `brown1/tagfiles/br-a01` or `brown1_br-a01` and so on, at any depth.
      parts: parts of speech (n, v, a, r) that are asked for: `brownv` is read only
        where that is verbs alone.

    Raises:
      InputError: no such files, or a file has another format.
    """
    folders = {"brown1", "brown2"} | ({"brownv"} if parts == {"v"} else set())

    def wanted(name: str) -> bool:
        found = _FILE.fullmatch(name)
        return found is not None and found[1] in folders

    files = read_files(path, wanted)
    if not files:
        raise InputError(
            f"--input={path}: holds no file of SemCor; expected names such as "
            "brown1/tagfiles/br-a01 or brown1_br-a01"
        )
    files.reverse()
    while files:  # each is let go once read
        name, content = files.pop()
        yield from _sentences(f"{path}: {name}", decode(content))


def _sentences(name: str, text: str) -> Iterator[Sentence]:
    words: Sentence | None = None
    for item in _ITEM.finditer(text):
        tag, attributes, form = item.groups()
        if tag == "s":
            words = []
        elif words is None:
            at = text.count("\n", 0, item.start()) + 1
            raise InputError(f"{name}, line {at}: <{tag}> outside of a sentence <s>")
        elif tag == "/s":
            yield words
            words = None
        elif form == "&amp;":  # three of them stand for an ellipsis
            if not words or words[-1].form != "...":
                words.append(Word("..."))
        elif form:
            found = _ATTRIBUTE.findall(attributes)
            given = {key: quoted or bare for key, quoted, bare in found}
            words.append(_word(html.unescape(form), given))
    if words is not None:
        raise InputError(f"{name}: ends inside of a sentence; get the corpus again")


def _word(form: str, given: Mapping[str, str]) -> Word:
    tag = given.get("pos", "")
    part = _PARTS.get(tag, _PARTS.get(tag[:1], ""))
    lemma = given.get("lemma", "")
    if "pn" in given:
        return Word(form, "n", name=_NAMES.get(given["pn"], ""))
    if not given.get("lexsn"):
        return Word(form, part, lemma=lemma)
    numbers = given.get("wnsn", "").split(";")
    senses = given["lexsn"].split(";")
    if "0" in numbers:  # a sense that WordNet 3.0 has no more
        return Word(form, part, lemma=lemma)
    return Word(form, part, tuple(f"{lemma}%{sense}" for sense in senses), lemma)
