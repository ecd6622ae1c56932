"""Weights that torch has pickled: `pytorch_model.bin`, whole or in shards.

The one place that imports torch, and only when such a file is to be read: nothing
else reads these pickles without running what they contain.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expertjax.checkpoints.shards import KeyPlaces
from expertjax.errors import InputError


class TorchSource:
    """Tensors of state dicts that `torch.save` wrote."""

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        """Maps the files into memory.

        Args:
          folder: for messages.
          files: that make up one checkpoint.

        Raises:
          InputError: torch is not installed, a file is no plain state dict, or a
            tensor is in two files.
        """
        self.name = str(folder)
        self._tensors: dict[str, Any] = {}
        places = KeyPlaces(folder)
        for path in files:
            for key, tensor in _load(path).items():
                places.add(key, path)
                self._tensors[key] = tensor
        places.check()
        self.shapes: dict[str, tuple[int, ...]] = {
            key: tuple(tensor.shape) for key, tensor in self._tensors.items()
        }
        self.dtypes = {
            key: str(tensor.dtype).removeprefix("torch.")
            for key, tensor in self._tensors.items()
        }

    def read(self, key: str) -> np.ndarray:
        """One tensor; bfloat16, which torch does not give to numpy, as float32."""
        tensor = self._tensors[key].detach()
        if tensor.is_floating_point() and tensor.element_size() <= 2:
            tensor = tensor.float()
        return tensor.numpy()


def _load(path: Path) -> Mapping[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: is a pickle, which only torch reads safely; install torch, or "
            "save the model as safetensors"
        ) from error
    try:
        # Files from before torch 1.6 are no archives, and cannot be mapped.
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except Exception as error:  # torch raises many kinds here
        raise InputError(
            f"{path}: cannot be read as a plain state dict "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}, no state dict")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise InputError(
                f"{path}: is no plain state dict: {key!r} is a {type(value).__name__}"
            )
    return content
