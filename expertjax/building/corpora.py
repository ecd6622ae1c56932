"""Running text for language models: one sentence or gloss per line.

Sources are named by one string: `wordnet:FOLDER`, `brown:FOLDER` or the path of
a UTF-8 text file.
"""

import re
from pathlib import Path

from expertjax.building.glosses import as_sentence
from expertjax.building.wordnet import read_synsets
from expertjax.errors import InputError
from expertjax.home import expand_home

_BROWN_FILE = re.compile(r"c[a-r]\d\d")
_CLOSING = frozenset([",", ".", ";", ":", "!", "?", ")", "]", "''"])
_OPENING = frozenset(["(", "[", "``"])


def read_texts(source: str) -> list[str]:
    """Lines of plain text from `source`, in a fixed order, blank ones dropped.

    Args:
      source: `wordnet:FOLDER` (a WordNet 3.0 `dict` folder; a line per gloss,
        "headwords: definition.", and one per example), `brown:FOLDER` (the
        tagged Brown corpus, files ca01 to cr09; a line per sentence), or the
        path of a UTF-8 text file (its lines).

    Raises:
      InputError: the source is missing, empty, or not in its format.
    """
    source = expand_home(source)
    kind, colon, folder = source.partition(":")
    if colon and kind == "wordnet":
        lines = _wordnet_lines(folder)
    elif colon and kind == "brown":
        lines = _brown_lines(Path(folder))
    else:
        lines = _file_lines(Path(source))
    lines = [line for line in (line.strip() for line in lines) if line]
    if not lines:
        raise InputError(f"{source}: holds no text; expected at least one line")
    return lines


def _wordnet_lines(folder: str) -> list[str]:
    lines = []
    for synset in read_synsets(folder):
        lines.append(as_sentence(f"{', '.join(synset.lemmas)}: {synset.definition}"))
        lines += [as_sentence(example) for example in synset.examples]
    return lines


def _brown_lines(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise InputError(f"brown:{folder}: not a folder; expected the Brown corpus")
    paths = [path for path in folder.iterdir() if _BROWN_FILE.fullmatch(path.name)]
    if not paths:
        raise InputError(
            f"brown:{folder}: no file ca01 to cr09; expected the tagged Brown corpus "
            "(form C), one file per sample"
        )
    lines = []
    for path in sorted(paths):
        for number, line in enumerate(_file_lines(path), start=1):
            lines.append(detokenise(_brown_words(line, path, number)))
    # Lines of list markers and rules alone carry no language.
    return [line for line in lines if re.search(r"[A-Za-z]", line)]


def _brown_words(line: str, path: Path, number: int) -> list[str]:
    words = []
    for token in line.split():
        # The tag stands after the last slash: words such as 1/2 hold some too.
        word, slash, _ = token.rpartition("/")
        if not slash or not word:
            raise InputError(
                f"{path}, line {number}: token {token!r} has no /tag; expected the "
                "tagged Brown corpus (form C)"
            )
        words.append(word)
    return words


def detokenise(words: list[str]) -> str:
    """Joins Brown tokens into a written sentence.

    Undoes the corpus's conventions: `` and '' for quotation marks, spaces
    around punctuation, and the doubled ; ? ! of its final marks.
    """
    text, glue, in_single, previous = "", True, False, ""
    for word in words:
        if (word == previous and word in ("!", "?", ";")) or (
            word == "." and text.endswith(".")
        ):
            continue
        single_quote = word == "'"
        closes = word in _CLOSING or (single_quote and in_single)
        opens = word in _OPENING or (single_quote and not in_single)
        in_single ^= single_quote
        shown = word.replace("``", '"').replace("''", '"')
        text += shown if glue or closes else " " + shown
        glue, previous = opens, word
    # The corpus puts marks after the closing quote; American print, before it.
    return re.sub(r'(?<=\w)"([,.?!])(?=\s|$)', r'\1"', text)


def _file_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: not found; expected a UTF-8 text file, wordnet:FOLDER or "
            "brown:FOLDER"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text: {error}") from error
