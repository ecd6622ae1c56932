"""Reads the WordNet 3.0 database files (`dict` folder) without further software.

Formats: `wndb(5WN)` for `data.noun`, `data.verb`, `data.adj`, `data.adv`, and
`senseidx(5WN)` for `index.sense`. Debian keeps them in /usr/share/wordnet
(packages wordnet-base and wordnet-sense-index).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from expertjax.building.glosses import parse_gloss
from expertjax.errors import InputError

# Letter of a part of speech in pointers -> its data file, in reading order.
DATA_FILES = {"n": "data.noun", "v": "data.verb", "a": "data.adj", "r": "data.adv"}
# Digit after `%` in a sense key -> part of speech; 5 is an adjective satellite.
KEY_PARTS = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}

_ADJECTIVE_MARKER = re.compile(r"\((?:a|p|ip)\)$")
_SENSE_KEY = re.compile(r"[^%]+%[1-5](?::[^:]*){4}")


@dataclass(frozen=True)
class Synset:
    """One set of synonyms.

    `offset` and `part` (n, v, a, r) identify it, `pos` is the finer type of the
    file (s for an adjective satellite). `lexname` is the number of the
    lexicographer file (13 = noun.food). `hyponyms` are offsets, in the same part
    of speech, of its kinds (`~`) and instances (`~i`).
    """

    offset: int
    part: str
    pos: str
    lexname: int
    lemmas: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]
    hyponyms: tuple[int, ...]

    @property
    def key(self) -> tuple[str, int]:
        """Offsets are unique within a part of speech only."""
        return self.part, self.offset


@dataclass(frozen=True)
class WordNet:
    """All synsets of a `dict` folder, by part of speech and offset."""

    folder: Path
    synsets: dict[tuple[str, int], Synset]
    senses: dict[str, tuple[str, int]]

    def synset(self, sense_key: str) -> Synset:
        """The synset of a sense key such as `bird%1:05:00::`.

        Raises:
          InputError: the key is malformed or not in this WordNet; similar keys
            of the same word are named.
        """
        if not _SENSE_KEY.fullmatch(sense_key):
            raise InputError(
                f"sense key {sense_key!r}: expected WordNet's form "
                "lemma%pos:file:id:: such as bird%1:05:00::"
            )
        found = self.senses.get(sense_key)
        if found is None:
            raise InputError(f"sense key {sense_key!r} {self._hint(sense_key)}")
        return self.synsets[found]

    def _hint(self, sense_key: str) -> str:
        stem = sense_key.split("%")[0] + "%"
        alike = [key for key in sorted(self.senses) if key.startswith(stem)]
        known = f"this word has {', '.join(alike)}" if alike else "nor is its word"
        return f"is not in {self.folder}/index.sense; {known}"

    def sense_key(self, synset: Synset) -> str:
        """The sense key of the first lemma (the head word) of `synset`.

        Raises:
          InputError: index.sense does not list the synset (damaged folder).
        """
        keys = self._keys_of.get(synset.key, [])
        stem = synset.lemmas[0].lower().replace(" ", "_") + "%"
        named = [key for key in keys if key.startswith(stem)] or keys
        if not named:
            raise InputError(
                f"{self.folder}/index.sense: no sense key for synset "
                f"{synset.offset} ({synset.lemmas[0]}); take it from the same "
                "release as the data files"
            )
        return named[0]

    @cached_property
    def _keys_of(self) -> dict[tuple[str, int], list[str]]:
        keys: dict[tuple[str, int], list[str]] = {}
        for sense_key, target in self.senses.items():
            keys.setdefault(target, []).append(sense_key)
        return keys

    def hyponym_closure(self, synset: Synset) -> list[Synset]:
        """`synset` and everything below it, breadth first, each once."""
        seen = {synset.key: synset}
        queue = [synset]
        for parent in queue:
            for offset in parent.hyponyms:
                key = parent.part, offset
                if key not in seen:
                    seen[key] = self.synsets[key]
                    queue.append(self.synsets[key])
        return queue


def read_wordnet(folder: str | Path) -> WordNet:
    """Reads all four parts of speech and the sense index of a `dict` folder.

    Raises:
      InputError: a file is missing or a line does not follow the format.
    """
    folder = Path(folder)
    synsets = {synset.key: synset for synset in read_synsets(folder)}
    for synset in synsets.values():
        for offset in synset.hyponyms:
            if (synset.part, offset) not in synsets:
                raise InputError(
                    f"{folder / DATA_FILES[synset.part]}: synset {synset.offset} "
                    f"points to {offset}, which is not there; the file is damaged"
                )
    return WordNet(folder, synsets, _read_senses(folder, synsets))


def read_licence(folder: str | Path) -> str:
    """The licence text that heads `data.noun`; copies of glosses must carry it.

    Raises:
      InputError: the file is missing.
    """
    path = Path(folder) / DATA_FILES["n"]
    header = [line for line in _lines(path) if line.startswith("  ")]
    lines = [re.sub(r"^\s*\d+ ?", "", line).rstrip() for line in header]
    return "\n".join(lines).strip() + "\n"


def read_synsets(folder: str | Path) -> Iterator[Synset]:
    """Synsets of `data.noun`, `data.verb`, `data.adj`, `data.adv`, in file order.

    Raises:
      InputError: a file is missing or a line does not follow the format.
    """
    for part, name in DATA_FILES.items():
        path = Path(folder) / name
        for number, line in enumerate(_lines(path), start=1):
            if line.startswith("  ") or not line.strip():  # the licence on top
                continue
            try:
                yield parse_synset(line, part)
            except (ValueError, IndexError) as error:
                raise InputError(
                    f"{path}, line {number}: not a WordNet 3.0 data line ({error}); "
                    "install the database again"
                ) from error


def parse_synset(line: str, part: str) -> Synset:
    """One line of a data file of part of speech `part` (wndb(5WN)).

    Raises:
      ValueError, IndexError: the line does not follow the format.
    """
    head, bar, gloss = line.partition(" | ")
    if not bar:
        raise ValueError("no gloss after ' | '")
    fields = head.split()
    n_lemmas = int(fields[3], 16)
    lemmas = [
        _ADJECTIVE_MARKER.sub("", word) for word in fields[4 : 4 + 2 * n_lemmas : 2]
    ]
    first = 5 + 2 * n_lemmas  # pointers: symbol, offset, part, source/target
    last = first + 4 * int(fields[first - 1])
    pointers = zip(fields[first:last:4], fields[first + 1 : last : 4], strict=True)
    definition, examples = parse_gloss(gloss)
    return Synset(
        offset=int(fields[0]),
        part=part,
        pos=fields[2],
        lexname=int(fields[1]),
        lemmas=tuple(word.replace("_", " ") for word in lemmas),
        definition=definition,
        examples=tuple(examples),
        hyponyms=tuple(int(at) for sign, at in pointers if sign in ("~", "~i")),
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: not found; expected the WordNet 3.0 database folder (Debian: "
            "packages wordnet-base and wordnet-sense-index, /usr/share/wordnet)"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def _read_senses(
    folder: Path, synsets: dict[tuple[str, int], Synset]
) -> dict[str, tuple[str, int]]:
    path, senses = folder / "index.sense", {}
    for number, line in enumerate(_lines(path), start=1):
        try:
            sense_key, offset = line.split()[:2]
            target = KEY_PARTS[sense_key.split("%")[1][0]], int(offset)
            if target not in synsets:
                raise ValueError(f"no synset at {offset}")
        except (ValueError, IndexError, KeyError) as error:
            raise InputError(
                f"{path}, line {number}: not a line of a sense index ({error!r}); "
                "take it from the same WordNet release as the data files"
            ) from error
        senses[sense_key] = target
    return senses
