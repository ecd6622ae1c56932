"""Models of llama.cpp that gguf-split has cut into several files.

Part 2 of 3 is called `NAME-00002-of-00003.gguf`. Each part has its number and theirs in
its metadata; all else is in the first part's.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expertjax.errors import InputError, join_problems

SUFFIX = ".gguf"
_PART = re.compile(rf"(.*)-(\d{{5}})-of-(\d{{5}}){re.escape(SUFFIX)}")


def name_of(path: Path) -> str:
    """What a file is called, without its number and its suffix."""
    match = _PART.fullmatch(path.name)
    return match[1] if match else path.name.removesuffix(SUFFIX)


def parts_of(path: Path) -> list[Path]:
    """All files of the model that one is a part of, as their names have it.

    Raises:
      InputError: some are not there.
    """
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    names = [
        f"{match[1]}-{number:05}-of-{match[3]}{SUFFIX}"
        for number in range(1, int(match[3]) + 1)
    ]
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise InputError(join_problems(f"{path}: parts are missing:", missing))
    return [path.parent / name for name in names]


def check_parts(paths: Sequence[Path], fields: Sequence[Any], num_tensors: int) -> None:
    """Do the files belong together, as their metadata have it?

    Args:
      paths: from `parts_of`.
      fields: the metadata of each.
      num_tensors: of all together.

    Raises:
      InputError: one is of another model, or of another place in it.
    """
    problems = []
    for at, (path, said) in enumerate(zip(paths, fields, strict=True)):
        number, count = said.get("split.no", 0), said.get("split.count", 0)
        if (number, max(count, 1)) != (at, len(paths)):
            problems.append(
                f"{path.name} is part {number + 1} of {max(count, 1)}, "
                f"not {at + 1} of {len(paths)}"
            )
    expected = fields[0].get("split.tensors.count", num_tensors)
    if not problems and expected != num_tensors:
        problems.append(f"{num_tensors} tensors of {expected} are there")
    if problems:
        raise InputError(
            join_problems(f"{paths[0]}: the parts do not fit:", problems)
            + "\nA part is called NAME-00002-of-00003.gguf, as gguf-split calls it"
        )
