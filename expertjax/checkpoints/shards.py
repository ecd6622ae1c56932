"""Which files hold a folder's weights: one file, or the shards an index names."""

import json
from pathlib import Path

from expertjax.errors import InputError, join_problems


def weight_files(folder: Path, single: str) -> list[Path]:
    """The files of one format; none where the folder has none.

    Args:
      folder: a Hugging Face folder.
      single: e.g. "model.safetensors"; its index is that and ".index.json".

    Raises:
      InputError: the index is damaged or names what is not in the folder.
    """
    index = folder / f"{single}.index.json"
    if (folder / single).is_file():
        return [folder / single]
    if not index.is_file():
        return []
    try:
        weight_map = json.loads(index.read_text("utf-8"))["weight_map"]
        names = sorted({Path(name).as_posix() for name in weight_map.values()})
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise InputError(f"{index}: no valid index of shards ({error!r})") from error
    problems = [
        f"{name!r} leaves the folder"
        if Path(name).name != name
        else f"{name} is missing"
        for name in names
        if Path(name).name != name or not (folder / name).is_file()
    ]
    if problems:
        raise InputError(join_problems(f"{index}: shards cannot be read:", problems))
    return [folder / name for name in names]


class KeyPlaces:
    """Which file each tensor is in; no tensor may be in two."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file_of: dict[str, Path] = {}
        self._twice: list[str] = []

    def add(self, key: str, path: Path) -> None:
        """Notes a tensor that was found in a file."""
        other = self._file_of.setdefault(key, path)
        if other != path:
            self._twice.append(f"{key!r}: {other.name} and {path.name}")

    def check(self) -> dict[str, Path]:
        """Tensor name -> file.

        Raises:
          InputError: names the tensors that are in two files.
        """
        if self._twice:
            raise InputError(
                join_problems(f"{self._folder}: tensors in two files:", self._twice)
            )
        return self._file_of
