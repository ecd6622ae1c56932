"""compressed-tensors: integers and 8-bit floats of llm-compressor, plain or packed.

Format: the package compressed-tensors (`compressors/naive_quantized`,
`compressors/pack_quantized`). A weight has one scale, one for each row, for each group
of a row's inputs, or for each block. Packed integers are stored with half of their
range added, along the inputs; zero points are packed along the outputs. Earlier
versions stored the group of each input, where groups were formed by activation.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from expertjax.checkpoints.quantised.fp8 import FLOAT8
from expertjax.checkpoints.quantised.numbers import (
    even_groups,
    scale_blocks,
    scale_groups,
    unpack,
)
from expertjax.checkpoints.quantised.weights import Packing, Parts, Scheme
from expertjax.models.configs import ConfigReader

_PACKED = "pack-quantized"
_FORMATS = ("int-quantized", "float-quantized", "naive-quantized", _PACKED)
_STRATEGIES = ("tensor", "channel", "group", "block")
_SCALE, _ZERO, _GROUPS = ".weight_scale", ".weight_zero_point", ".weight_g_idx"
_WORDS, _SIZES = ".weight_packed", ".weight_shape"
_ACTIVATIONS = tuple(
    f".{side}_{part}"
    for side in ("input", "output")
    for part in ("scale", "zero_point", "global_scale")
)
_CACHE = (".k_scale", ".v_scale", ".q_scale", ".k_zero_point", ".v_zero_point")


@dataclasses.dataclass(frozen=True)
class _Group:
    """How the weights of some modules are quantised.

    Attributes:
      targets: names of modules, "re:" and a pattern of names, or classes.
      bits: of a number.
      is_float: else an integer.
      symmetric: zero is zero.
      strategy: of what there is one scale; None leaves it to the scale's shape.
      block: height and width, for blocks.
    """

    targets: Sequence[str]
    bits: int
    is_float: bool
    symmetric: bool
    strategy: str | None
    block: Any


def compressed_tensors(settings: ConfigReader) -> Scheme:
    """The scheme of `quant_method` "compressed-tensors"."""
    form = settings.choose("format", "dense", (*_FORMATS, "mixed-precision"))
    sparsity = settings.nested("sparsity_config")
    sparsity.only("format", "dense")
    sparsity.ignore(*sparsity.names)
    settings.only("transform_config", {})
    settings.only("moe_sparsity_config", None)
    settings.ignore("global_compression_ratio", "ignore", "kv_cache_scheme", "version")
    settings.ignore("quantization_status")  # dtypes say it
    reader = settings.nested("config_groups")
    groups = tuple(
        group for name in reader.names if (group := _read(reader.nested(name), form))
    )
    packing = Packing(
        _SCALE,
        (),
        (".weight", _WORDS, _SIZES, _ZERO, _GROUPS, *_ACTIVATIONS),
        _shape,
        functools.partial(_values, groups=groups),
    )
    kinds = {f"{'float' if g.is_float else 'int'}{g.bits}" for g in groups}
    name = f"compressed-tensors ({', '.join(sorted(kinds))})"
    return Scheme(name, (packing,), unused=_CACHE)


def _read(group: ConfigReader, form: str) -> _Group | None:
    """None where only activations are quantised."""
    targets = group.take("targets", [], list)
    group.ignore("input_activations", "output_activations")
    form = group.take("format", None, str, nullable=True) or form
    known = ", ".join(_FORMATS)
    group.require(form in _FORMATS, f"format={form!r} is not known; known: {known}")
    weights = group.nested("weights")
    if weights.is_empty:
        return None
    kind = weights.choose("type", "int", ("int", "float"))
    bits = weights.take("num_bits", 8, int)
    weights.require(
        bits == 8 if kind == "float" else bits <= 8,
        f"num_bits={bits!r} of type {kind}",
    )
    strategy = weights.take("strategy", None, str, nullable=True)
    weights.require(
        strategy in (None, *_STRATEGIES),
        f"strategy={strategy!r}: known: {', '.join(_STRATEGIES)}",
    )
    block = weights.take("block_structure", None, list, nullable=True)
    if strategy == "block":
        fits = len(block or ()) == 2 and all(type(n) is int and n > 0 for n in block)
        weights.require(fits, f"block_structure={block!r} of strategy 'block'")
    weights.only("dynamic", False)
    symmetric = weights.take("symmetric", True)
    weights.ignore("group_size", "actorder", "observer", "observer_kwargs")
    weights.ignore("scale_dtype", "zp_dtype")
    return _Group(targets, bits, kind == "float", symmetric, strategy, block)


def _group_of(module: str, groups: Sequence[_Group]) -> _Group:
    """The settings of a module; names go before patterns, and these before classes.

    Raises:
      ValueError: only its class, which the checkpoint does not say, would tell.
    """
    for is_one in (module.__eq__, functools.partial(_is_like, module)):
        targets = sorted(target for group in groups for target in group.targets)
        for target in filter(is_one, targets):
            return next(group for group in groups if target in group.targets)
    by_class = [g for g in groups if any(t[:1].isupper() for t in g.targets)]
    if len(by_class) != 1:
        raise ValueError(f"which of {len(by_class)} config_groups is this?")
    return by_class[0]


def _is_like(module: str, target: str) -> bool:
    pattern = target.removeprefix("re:")
    return pattern != target and re.match(pattern, module) is not None


def _shape(parts: Parts) -> tuple[int, ...]:
    if _WORDS not in parts:
        if ".weight" not in parts:
            raise ValueError("neither .weight nor .weight_packed is there")
        return parts.shape(".weight")
    return tuple(int(size) for size in parts.read(_SIZES, "int64", "int32"))


def _values(parts: Parts, groups: Sequence[_Group]) -> np.ndarray:
    group = _group_of(parts.prefix, groups)
    if _WORDS in parts:
        numbers: np.ndarray = _unpack(parts.read(_WORDS, "int32"), _shape(parts), group)
    else:
        numbers = parts.read(".weight", *(FLOAT8 if group.is_float else ("int8",)))
    scale = parts.floats(_SCALE)
    if group.strategy == "block":
        if not group.symmetric:
            raise ValueError("zero points of blocks")
        return scale_blocks(numbers, scale, tuple(group.block))
    rows, columns = numbers.shape
    if scale.size == 1:  # of the whole tensor
        scale = np.broadcast_to(scale.reshape(1, 1), (rows, 1))
    zero = None if group.symmetric else _zero(parts, scale.shape, group)
    of_input = _groups(parts, columns, scale.shape[-1])
    return scale_groups(numbers, scale, zero, of_input, axis=1)


def _unpack(words: np.ndarray, shape: tuple[int, ...], group: _Group) -> np.ndarray:
    """Signed integers [..., shape[-1]].

    Raises:
      ValueError: another number of words, or one that earlier versions wrote too,
        which let no number lie in two words.
    """
    count, bits = shape[-1], group.bits
    dense, loose = -(-count * bits // 32), -(-count // (32 // bits))
    if words.shape[-1] != dense or (32 % bits and dense == loose):
        raise ValueError(f"{words.shape[-1]} words for {count} numbers of {bits} bits")
    return unpack(words, bits)[..., :count].astype(np.int16) - 2 ** (bits - 1)


def _zero(parts: Parts, shape: tuple[int, ...], group: _Group) -> np.ndarray:
    """[O, G]."""
    if _ZERO not in parts:
        raise ValueError(f"{_ZERO} is missing")
    zero = parts.read(_ZERO)
    if _WORDS in parts and group.strategy != "tensor":
        return _unpack(zero.T, shape[::-1], group).T
    return np.broadcast_to(zero, shape) if zero.size == 1 else zero


def _groups(parts: Parts, inputs: int, count: int) -> np.ndarray:
    """The group of each input."""
    if _GROUPS in parts:
        group = parts.read(_GROUPS, "int32", "int64")
        if not (group == -1).all():  # which stands for none
            return group
    return even_groups(inputs, count)
