"""Reading tensors out of checkpoint files, one at a time."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from expertjax.checkpoints.onnx_file import ONNXSource, find_onnx
from expertjax.checkpoints.shards import KeyPlaces, weight_files
from expertjax.checkpoints.torch_bin import TorchSource
from expertjax.errors import InputError

SAFETENSORS = "model.safetensors"
FLOATS = frozenset({"float64", "float32", "float16", "bfloat16"})
# What safetensors calls the types that numpy, ml_dtypes and torch name so.
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
}
PICKLE = "pytorch_model.bin"

# numpy learns bfloat16 and the float8 types by this import.
_ = ml_dtypes.bfloat16


class TensorSource(Protocol):
    """Named tensors whose shapes are known before any is read."""

    @property
    def name(self) -> str:
        """The file or folder, for messages."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Tensor name -> shape."""

    @property
    def dtypes(self) -> Mapping[str, str]:
        """Tensor name -> dtype of the file; of `FLOATS` if it holds plain numbers."""

    def read(self, key: str) -> np.ndarray:
        """One tensor as a host array."""


class SafetensorsSource:
    """Tensors of `.safetensors` files (github.com/huggingface/safetensors)."""

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        """Reads the headers.

        Args:
          folder: for messages.
          files: that make up one checkpoint.

        Raises:
          InputError: a file is damaged, or a tensor is in two of them.
        """
        self.name = str(folder)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        self._octets_of: dict[str, int] = {}
        places = KeyPlaces(folder)
        for path in files:
            try:
                with safe_open(path, framework="np") as file:
                    for key in file.keys():  # noqa: SIM118 (not a dict)
                        places.add(key, path)
                        header = file.get_slice(key)
                        self.shapes[key] = tuple(header.get_shape())
                        dtype = header.get_dtype()
                        self.dtypes[key] = _DTYPES.get(dtype, dtype)
                self._octets_of |= self._places_of_float8(path)
            except (SafetensorError, OSError) as error:
                raise InputError(
                    f"{path}: cannot be read as safetensors ({error}); "
                    "copy or download it again"
                ) from error
        self._file_of = places.check()

    def read(self, key: str) -> np.ndarray:
        """One tensor, in the dtype of the file."""
        if key in self._octets_of:
            with open(self._file_of[key], "rb") as raw:
                raw.seek(self._octets_of[key])
                octets = raw.read(math.prod(self.shapes[key]))
            return np.frombuffer(octets, self.dtypes[key]).reshape(self.shapes[key])
        # Opened anew, so that pages of the file do not pile up in memory.
        with safe_open(self._file_of[key], framework="np") as file:
            return file.get_tensor(key)

    def _places_of_float8(self, path: Path) -> dict[str, int]:
        """Where in the file each tensor of 8-bit floats begins.

        safetensors itself looks for their types in numpy, which has none.
        """
        if not any(dtype.startswith("float8") for dtype in self.dtypes.values()):
            return {}
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        return {
            key: 8 + size + tensor["data_offsets"][0]
            for key, tensor in header.items()
            if key in self.dtypes and self.dtypes[key].startswith("float8")
        }


def has_weights(folder: Path) -> bool:
    """Has a Hugging Face folder any file of weights that is read here?"""
    files = (SAFETENSORS, f"{SAFETENSORS}.index.json", PICKLE, f"{PICKLE}.index.json")
    return any((folder / f).is_file() for f in files) or find_onnx(folder) is not None


def open_weights(folder: Path) -> TensorSource:
    """The tensors of a Hugging Face folder.

    Safetensors are taken where there are any, then `pytorch_model.bin`, then ONNX.

    Raises:
      InputError: the folder has no weights in a format that is read here, or
        they are damaged.
    """
    if files := weight_files(folder, SAFETENSORS):
        return SafetensorsSource(folder, files)
    if files := weight_files(folder, PICKLE):
        return TorchSource(folder, files)
    if path := find_onnx(folder):
        return ONNXSource(path)
    raise InputError(
        f"{folder}: neither {SAFETENSORS} nor {PICKLE} nor an index of either is "
        "there, nor model.onnx"
    )
