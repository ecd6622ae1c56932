"""Reading tensors out of checkpoint files, one at a time."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from expertjax.errors import InputError, join_problems


class TensorSource(Protocol):
    """Named tensors whose shapes are known before any is read."""

    @property
    def name(self) -> str:
        """The file or folder, for messages."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Tensor name -> shape."""

    def read(self, key: str) -> np.ndarray:
        """One tensor as a host array."""


class SafetensorsSource:
    """One `.safetensors` file, or the shards that an index names."""

    def __init__(self, folder: Path) -> None:
        """Opens `model.safetensors` or `model.safetensors.index.json`.

        Raises:
          InputError: there is neither, a file is damaged or missing, or a tensor
            is in two files.
        """
        self.name = str(folder)
        self._file_of: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        twice = []
        for path in _safetensors_files(folder):
            try:
                with safe_open(path, framework="np") as file:
                    for key in file.keys():  # noqa: SIM118 (not a dict)
                        other = self._file_of.setdefault(key, path)
                        if other != path:
                            twice.append(f"{key!r}: {other.name} and {path.name}")
                        self.shapes[key] = tuple(file.get_slice(key).get_shape())
            except (SafetensorError, OSError) as error:
                raise InputError(
                    f"{path}: cannot be read as safetensors ({error}); "
                    "copy or download it again"
                ) from error
        if twice:
            raise InputError(join_problems(f"{folder}: tensors in two files:", twice))

    def read(self, key: str) -> np.ndarray:
        """One tensor, in the dtype of the file."""
        with safe_open(self._file_of[key], framework="np") as file:
            return file.get_tensor(key)


def open_weights(folder: Path) -> TensorSource:
    """The tensors of a Hugging Face folder.

    Raises:
      InputError: the folder has no weights in a format that is read here.
    """
    return SafetensorsSource(folder)


def _safetensors_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    if not index.is_file():
        found = sorted(path.name for path in folder.glob("*.bin"))
        hint = f"; {found[0]} is a pickle: save as safetensors" if found else ""
        raise InputError(
            f"{folder}: neither model.safetensors nor {index.name} is there{hint}"
        )
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


# numpy learns bfloat16 and the float8 types by this import.
_ = ml_dtypes.bfloat16
