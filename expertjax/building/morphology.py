"""Base forms of English words, by WordNet's rules of detachment (morphy(7WN))."""

from collections.abc import Mapping
from pathlib import Path

from expertjax.building.wordnet import DATA_FILES
from expertjax.errors import InputError

# Ending -> what stands there in the base form.
_RULES: dict[str, list[tuple[str, str]]] = {
    "n": [
        *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch")),
        *(("shes", "sh"), ("men", "man"), ("ies", "y"), ("ves", "f")),
    ],
    "v": [
        *(("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", "")),
        *(("ing", "e"), ("ing", "")),
    ],
    "a": [("er", ""), ("est", ""), ("er", "e"), ("est", "e")],
    "r": [],
}


def base_forms(
    word: str, part: str, exceptions: Mapping[tuple[str, str], tuple[str, ...]]
) -> tuple[str, ...]:
    """What `word` may be a form of, itself first; not all of these are words.

    Args:
      word: in small letters, blanks as underscores.
      part: of speech: n, v, a or r.
      exceptions: irregular (form, part) -> base forms.
    """
    forms = [word, *exceptions.get((word, part), ())]
    for ending, base in _RULES.get(part, ()):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            forms.append(word[: len(word) - len(ending)] + base)
    return tuple(dict.fromkeys(forms))


def read_exceptions(folder: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    """Irregular forms of WordNet's `noun.exc` and so on; a missing file has none.

    Raises:
      InputError: a file cannot be read.
    """
    exceptions = {}
    for part, name in DATA_FILES.items():
        path = folder / f"{name.removeprefix('data.')}.exc"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as text ({error})") from error
        for line in lines:
            form, *bases = line.split() or [""]
            exceptions[form, part] = tuple(bases)
    return exceptions
