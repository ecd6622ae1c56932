"""Reads the unified format of word sense evaluation (Raganato et al. 2017).

`NAME.data.xml` holds `<sentence>`s of `<wf>` and `<instance id=...>`; each line of
`NAME.gold.key.txt` is an instance's id and the sense keys that are right.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.parsers import expat

from expertjax.building.archives import decode, read_files
from expertjax.building.tagged import Sentence, Word
from expertjax.errors import InputError

_DATA, _GOLD = ".data.xml", ".gold.key.txt"
_PARTS = {"NOUN": "n", "VERB": "v", "ADJ": "a", "ADV": "r", "NUM": "an"}
_SENSE_KEY = re.compile(r"[^%\s]+%[1-5]:\d\d:\d\d:\S*:\S*")
_PIECE = 1 << 20


def read_wsd(path: str | Path) -> Iterator[Sentence]:
    """Sentences of all corpora in the folder or archive `path`, by name.

    Raises:
      InputError: no corpus, one without its key, or a file of another format.
    """
    files = dict(
        read_files(path, lambda name: name.endswith((_DATA, _GOLD)) and name[0] != ".")
    )
    corpora = [name for name in files if name.endswith(_DATA)]
    if not corpora:
        raise InputError(
            f"--input={path}: holds no *{_DATA}; expected the unified format of word "
            f"sense evaluation, NAME{_DATA} with NAME{_GOLD}"
        )
    for name in corpora:
        key = name.removesuffix(_DATA) + _GOLD
        if key not in files:
            raise InputError(f"--input={path}: {name} is there, but {key} is not")
        gold = _read_gold(f"{path}: {key}", decode(files.pop(key)))
        yield from _sentences(f"{path}: {name}", files.pop(name), gold)


def _read_gold(name: str, text: str) -> dict[str, tuple[str, ...]]:
    gold = {}
    for number, line in enumerate(text.splitlines(), start=1):
        instance, *keys = line.split() or [""]
        if not keys or not all(_SENSE_KEY.fullmatch(key) for key in keys):
            raise InputError(
                f"{name}, line {number}: {line[:60]!r}; expected an instance's id and "
                "its sense keys, such as d000.s000.t000 long%3:00:02::"
            )
        gold[instance] = tuple(dict.fromkeys(keys))
    return gold


def _sentences(
    name: str, content: bytes, gold: Mapping[str, tuple[str, ...]]
) -> Iterator[Sentence]:
    """Parses piece by piece; a document type, and so any entity of it, is refused."""
    handler = _Handler(gold)
    parser = expat.ParserCreate()
    parser.StartElementHandler = handler.start
    parser.CharacterDataHandler = handler.text
    parser.EndElementHandler = handler.end
    parser.StartDoctypeDeclHandler = handler.refuse_doctype
    for at in range(0, max(len(content), 1), _PIECE):
        piece = content[at : at + _PIECE]
        try:
            parser.Parse(piece, at + _PIECE >= len(content))
        except (expat.ExpatError, InputError) as error:
            raise InputError(f"{name}: cannot be read as XML ({error})") from error
        yield from handler.take()


class _Handler:
    """Collects the sentences of a document."""

    def __init__(self, gold: Mapping[str, tuple[str, ...]]) -> None:
        self.gold = gold
        self.done: list[Sentence] = []
        self.words: Sentence = []
        self.given: dict[str, str] | None = None
        self.form = ""

    def start(self, tag: str, given: dict[str, str]) -> None:
        if tag == "sentence":
            self.words = []
        elif tag in ("wf", "instance"):
            self.given, self.form = given, ""

    def text(self, text: str) -> None:
        if self.given is not None:
            self.form += text

    def end(self, tag: str) -> None:
        if tag == "sentence":
            self.done.append(self.words)
        elif tag in ("wf", "instance") and self.given is not None:
            self.words.append(self._word(self.given))
            self.given = None

    def take(self) -> list[Sentence]:
        done, self.done = self.done, []
        return done

    def _word(self, given: Mapping[str, str]) -> Word:
        senses = self.gold.get(given.get("id", ""), ())
        form = "_".join(self.form.split())
        part = _PARTS.get(given.get("pos", ""), "")
        return Word(form, part, senses, given.get("lemma", "").replace(" ", "_"))

    def refuse_doctype(self, *_: object) -> None:
        raise InputError("it declares a document type, which is not part of the format")
