"""Weights of encoders that were exported to ONNX by torch.

Format: onnx.ai's ModelProto. torch's exporter keeps the names of parameters, but
writes a linear layer as MatMul with a constant called `onnx::MatMul_123`, already
transposed. Which layer that belongs to is told by the name of the node, the path of
the modules that computed it: `/encoder/layer.0/output/dense/MatMul`.
"""

from collections.abc import Collection, Iterable, Set
from pathlib import Path
from typing import Any

import numpy as np

from expertjax.errors import InputError, join_problems

_EMBEDDING = "embeddings.word_embeddings.weight"
_PLACES = ("model.onnx", "onnx/model.onnx")
_ANONYMOUS = ("onnx::", "/")
_FLOATS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")


def find_onnx(folder: Path) -> Path | None:
    """The ONNX file of a Hugging Face folder, if it has one."""
    return next((folder / p for p in _PLACES if (folder / p).is_file()), None)


class ONNXSource:
    """Parameters of an ONNX graph by the names that they had in torch."""

    def __init__(self, path: Path) -> None:
        """Reads the file.

        Args:
          path: of the graph; weights in files beside it are read too.

        Raises:
          InputError: onnx is not installed, the file is damaged, is no export of
            an encoder, or has weights whose layer cannot be told.
        """
        self.name = str(path)
        graph, self._to_numpy, floats = _load(path)
        constants = {
            c.name: c for c in graph.initializer if c.dims and c.data_type in floats
        }
        named = [name for name in constants if not name.startswith(_ANONYMOUS)]
        wrapped = [name for name in named if name.endswith(_EMBEDDING)]
        if not wrapped:
            raise InputError(f"{path}: has no {_EMBEDDING}; only encoders are read")
        modules = {n.removesuffix(".bias") for n in named if n.endswith(".bias")}
        linear = _linear_weights(graph.node, constants.keys() - set(named), modules)
        lost = sorted(constants.keys() - set(named) - set(linear.values()))
        if lost:
            raise InputError(join_problems(f"{path}: whose weights are these:", lost))
        # A module that wraps the encoder puts its own name before all others.
        start = len(wrapped[0].removesuffix(_EMBEDDING))
        self._kept = {name[start:]: constants[name] for name in named}
        self._transposed = {
            key[start:]: constants[name] for key, name in linear.items()
        }
        self.shapes: dict[str, tuple[int, ...]] = {
            key: tuple(c.dims) for key, c in self._kept.items()
        } | {key: tuple(c.dims)[::-1] for key, c in self._transposed.items()}
        self.dtypes = dict.fromkeys(self.shapes, "float32")  # no others were kept

    def read(self, key: str) -> np.ndarray:
        """One tensor, as torch has it."""
        if key in self._transposed:
            return self._to_numpy(self._transposed[key]).T
        return self._to_numpy(self._kept[key])


def _load(path: Path) -> tuple[Any, Any, set[int]]:
    """The graph, what turns its constants into arrays, its numbers of float types."""
    try:
        import onnx
    except ImportError as error:
        raise InputError(
            f"{path}: needs the onnx package: pip install onnx, or save the model as "
            "safetensors"
        ) from error
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # protobuf and onnx raise many kinds here
        raise InputError(f"{path}: cannot be read as ONNX ({error})") from error
    floats = {onnx.TensorProto.DataType.Value(name) for name in _FLOATS}
    return graph, onnx.numpy_helper.to_array, floats


def _linear_weights(
    nodes: Iterable[Any], anonymous: Set[str], modules: Collection[str]
) -> dict[str, str]:
    """Name in torch -> name in the graph, for the weights that lost theirs."""
    found = {}
    for node in nodes:
        if node.op_type != "MatMul":
            continue
        # With the wrapper's containers, which parameters do not name.
        path = "." + node.name.removesuffix("/MatMul").strip("/").replace("/", ".")
        module = next((m for m in modules if path.endswith(f".{m}")), None)
        for name in anonymous & set(node.input):
            if module is not None:
                found[f"{module}.weight"] = name
    return found
