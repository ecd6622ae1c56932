"""8-bit floats with a scale for a block, a row or the whole of a weight.

Formats: DeepSeek-V3's and Qwen3's `weight_scale_inv` (transformers'
integrations/finegrained_fp8.py), vLLM's `weight_scale` for a whole tensor, and FBGEMM's
for rows. Whatever its name, the scale is multiplied with.
"""

import functools
from typing import Any

import numpy as np

from expertjax.checkpoints.quantised.numbers import scale_blocks
from expertjax.checkpoints.quantised.weights import Packing, Parts, Scheme
from expertjax.models.configs import ConfigReader

FLOAT8 = ("float8_e4m3fn", "float8_e5m2")
_ACTIVATIONS = (".activation_scale", ".input_scale")
_OF_EXPONENTS = 127  # what a scale that is the bits of an exponent has added


def fp8(settings: ConfigReader) -> Scheme:
    """The scheme of `quant_method` "fp8"."""
    settings.choose("activation_scheme", "dynamic", ("dynamic", "static"))
    settings.choose("fmt", "e4m3", ("e4m3", "e5m2"))
    settings.choose("scale_fmt", "float", ("float", "ue8m0"))
    settings.only("expert_dtype", "fp8")
    settings.ignore("modules_to_not_convert", "modules_to_convert", "ignored_layers")
    settings.ignore("dequantize", "kv_cache_scheme")
    block = _block_size(settings)
    name = "fp8" if block is None else f"fp8 (blocks of {block[0]} x {block[1]})"
    values = functools.partial(_values, block=block)
    packings = tuple(
        Packing(
            mark, (".weight",), _ACTIVATIONS, _shape, functools.partial(values, mark)
        )
        for mark in (".weight_scale_inv", ".weight_scale")
    )
    return Scheme(name, packings, unused=(".k_scale", ".v_scale"))


def fbgemm(settings: ConfigReader) -> Scheme:
    """The scheme of `quant_method` "fbgemm_fp8": a scale for each row."""
    settings.ignore("activation_scale_ub", "modules_to_not_convert")
    values = functools.partial(_values, ".weight_scale", block=None)
    packing = Packing(
        ".weight_scale", (".weight",), (".input_scale_ub",), _shape, values
    )
    return Scheme("fbgemm_fp8", (packing,))


def _block_size(settings: ConfigReader) -> tuple[int, int] | None:
    size: Any = settings.take("weight_block_size", None, list, nullable=True)
    if size is None:
        return None
    fits = len(size) == 2 and all(type(side) is int and side > 0 for side in size)
    settings.require(fits, f"weight_block_size={size!r}: expected two sizes or null")
    return tuple(size) if fits else None


def _shape(parts: Parts) -> tuple[int, ...]:
    return parts.shape(".weight")


def _values(mark: str, parts: Parts, block: tuple[int, int] | None) -> np.ndarray:
    numbers = parts.read(".weight", *FLOAT8)
    scale = scales(parts, mark)
    rows, columns = numbers.shape
    if scale.size == 1:
        scale, block = scale.reshape(1, 1), (rows, columns)
    elif block is None:
        scale, block = scale.reshape(len(scale), -1), (1, columns)
    return scale_blocks(numbers, scale, block)


def scales(parts: Parts, mark: str) -> np.ndarray:
    """Scales in float32; bytes are the exponents of powers of two."""
    scale = parts.read(mark)
    if scale.dtype == np.uint8:
        return np.exp2(scale.astype(np.float32) - np.float32(_OF_EXPONENTS))
    return scale.astype(np.float32)
