"""Concepts as people call them: `sense/bird-1_05_00__` is "bird".

Files, tables and addresses keep the key, `group/name`.
"""

import collections
import difflib
import re
import unicodedata
from collections.abc import Callable, Sequence

from expertjax.errors import InputError

# A sense key of WordNet as `inventory.concept_name` writes it: word, sense, and of some
# adjectives the head with its number.
_SENSE = re.compile(r"(.+)-([1-5]_\d\d_\d\d)_(.*)_(\d*)")
_MAX_SHOWN = 10  # names in a message
_MAX_FILE = 40  # characters of a file's name


def short_name(key: str) -> str:
    """The word of a sense, with blanks; any other name as it is, without its group."""
    return _word_and_sense(key)[0]


def _word_and_sense(key: str) -> tuple[str, str]:
    """The word and, as WordNet writes it, the sense; "" where the name is none."""
    name = key.partition("/")[2] or key
    found = _SENSE.fullmatch(name)
    word = found[1].replace("_", " ").strip() if found else ""
    if not found or not word:
        return name, ""
    head = f":{found[3]}:{found[4]}" if found[3] else ""
    return word, found[2].replace("_", ":") + head


def _told_by(*parts: Callable[[str], str]) -> Callable[[str], str]:
    """The short name, with parts of the key in brackets."""

    def name(key: str) -> str:
        told = " ".join(filter(None, (part(key) for part in parts)))
        return f"{short_name(key)} ({told})" if told else short_name(key)

    return name


def _group(key: str) -> str:
    return key.partition("/")[0]


def _sense(key: str) -> str:
    return _word_and_sense(key)[1]


# The first that tells all concepts of one word apart is taken.
_FORMS = (short_name, _told_by(_group), _told_by(_sense), _told_by(_group, _sense), str)


def short_names(keys: Sequence[str]) -> list[str]:
    """A name for each concept of a result, no two alike.

    Where several have one short name, their groups are added, "bird (topic)", or their
    senses, "bank (1:14:00)", or both. The order of the keys changes nothing.

    Args:
      keys: [C] distinct `group/name`.
    """
    same: dict[str, list[str]] = collections.defaultdict(list)
    for key in keys:
        same[short_name(key)].append(key)
    names: dict[str, str] = {}
    for several in same.values():
        forms = ([form(key) for key in several] for form in _FORMS)
        told = next(found for found in forms if len(set(found)) == len(several))
        names |= dict(zip(several, told, strict=True))
    if len(set(names.values())) < len(names):  # one is called as another is told apart
        return list(keys)
    return [names[key] for key in keys]


def find_concept(said: str, keys: Sequence[str], where: str = "") -> str:
    """The key of the concept that somebody means.

    It may be said by its key, by its exact name in whichever group, or by its short
    name (with underscores for blanks, if one likes), as long as only one is meant.

    Args:
      said: by a person.
      keys: [C] distinct `group/name`.
      where: for messages, such as " in out/gpt2".

    Raises:
      InputError: names the concepts that are meant or, if there is none, those whose
        names are nearest.
    """
    if said in keys:
        return said
    word = said.replace("_", " ")
    names = short_names(keys)
    for meant in (
        [key for key in keys if key.partition("/")[2] == said],
        [key for key, name in zip(keys, names, strict=True) if name in (said, word)],
        [key for key in keys if short_name(key) in (said, word)],
    ):
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise InputError(
                f"concept {said!r}{where} may be any of {_listed(meant)}; name one"
            )
    raise InputError(f"no concept {said!r}{where}{_nearest(word, keys, names)}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_SHOWN
    shown = ", ".join(names[:_MAX_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def _nearest(word: str, keys: Sequence[str], names: Sequence[str]) -> str:
    """What a message says of concepts with like names; else the first ones."""
    called: dict[str, list[str]] = collections.defaultdict(list)
    for key, name in zip(keys, names, strict=True):
        for form in (key, key.partition("/")[2], short_name(key), name):
            called[form.replace("_", " ").casefold()].append(name)
    near = difflib.get_close_matches(word.casefold(), called, _MAX_SHOWN)
    if near:
        found = dict.fromkeys(name for form in near for name in called[form])
        return f"; nearest: {_listed(list(found))}"
    return f"; e.g. {', '.join(keys[:3])}" if keys else ""


def file_names(keys: Sequence[str]) -> list[str]:
    """A part of a file's name for each concept, safe and distinct wherever it lies.

    Letters, digits, `_` and `-` only; two that would differ by case or by Unicode's
    ways to write a letter get a number.

    Args:
      keys: [C] distinct `group/name`.
    """
    taken: set[str] = set()
    files = []
    for name in short_names(keys):
        safe = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", name))
        stem = file = safe.strip("_")[:_MAX_FILE] or "concept"
        number = 1
        while unicodedata.normalize("NFKC", file).casefold() in taken:
            number += 1
            file = f"{stem}-{number}"
        taken.add(unicodedata.normalize("NFKC", file).casefold())
        files.append(file)
    return files
