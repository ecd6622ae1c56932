"""The home folder in paths: `~` means the same wherever a user writes a path."""

import os
import re
from pathlib import Path

from expertjax.errors import InputError

# Sources that are named with a word before the path, such as wordnet:~/wordnet.
_KIND = re.compile(r"(?:(?:wordnet|brown):)?(?=~)")


def expand_home(text: str) -> str:
    """A path with the home folder in place of a leading `~` or `~user`.

    Args:
      text: a path, local or `gs://`, perhaps after `wordnet:` or `brown:`.

    Raises:
      InputError: nobody knows that home folder.
    """
    kind = _KIND.match(text)
    if not kind:
        return text
    path = os.path.expanduser(text[kind.end() :])
    if path.startswith("~"):
        raise InputError(
            f"{text}: there is no such home folder; give the path from the root on, or "
            f"./{path} for something of that name in this folder"
        )
    return text[: kind.end()] + path


def user_path(path: Path | str) -> Path:
    """A local path from what a user gave.

    Raises:
      InputError: see `expand_home`.
    """
    return Path(expand_home(os.fspath(path)))
