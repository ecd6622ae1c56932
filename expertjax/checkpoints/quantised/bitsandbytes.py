"""bitsandbytes: 4-bit codes with a table and scales of blocks; 8-bit integers by rows.

Format: bitsandbytes' `QuantState.as_dict` and `Linear8bitLt`. A block is a run of the
flattened weight. With double quantisation the scales themselves are codes, of 8 bits.
"""

import functools
import json
import math
from typing import Any

import numpy as np

from expertjax.checkpoints.quantised.weights import Packing, Parts, Scheme
from expertjax.models.configs import ConfigReader

_KINDS = ("nf4", "fp4")
_STATE = ".weight.quant_state.bitsandbytes__"
_SCALE, _CODES = ".weight.absmax", ".weight.quant_map"
_NESTED = ".weight.nested_absmax", ".weight.nested_quant_map"
_STEP = np.float32(7.874015718698502e-3)  # 1 / 127, as the library has it
# How the model was computed; the tensors say how each weight was kept.
_NOTES = """
    bnb_4bit_compute_dtype bnb_4bit_quant_storage bnb_4bit_quant_type
    bnb_4bit_use_double_quant llm_int8_enable_fp32_cpu_offload llm_int8_has_fp16_weight
    llm_int8_skip_modules llm_int8_threshold
""".split()


def bitsandbytes(settings: ConfigReader) -> Scheme:
    """The scheme of `quant_method` "bitsandbytes"."""
    kind = settings.choose("bnb_4bit_quant_type", "fp4", _KINDS)
    flags = {f"{at}load_in_{bits}bit": bits for at in ("", "_") for bits in (4, 8)}
    given = {bits for flag, bits in flags.items() if settings.take(flag, False)}
    name = "int8" if given == {8} else kind
    settings.ignore(*_NOTES)
    packings = [
        Packing(
            _STATE + kind,
            (".weight", _SCALE, _CODES),
            _NESTED,
            functools.partial(_shape_of_codes, state=_STATE + kind),
            functools.partial(_values_of_codes, state=_STATE + kind),
        )
        for kind in _KINDS
    ]
    rows = Packing(
        ".SCB", (".weight",), (".weight_format",), _shape_of_rows, _values_of_rows
    )
    return Scheme(f"bitsandbytes ({name})", (*packings, rows), as_linear=True)


def _read_state(parts: Parts, name: str) -> dict[str, Any]:
    """What is no tensor: JSON, as bytes."""
    state = json.loads(parts.read(name, "uint8").tobytes())
    sizes = [state["blocksize"], *state["shape"]]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"{name} says {state}")
    return state


def _shape_of_codes(parts: Parts, state: str) -> tuple[int, ...]:
    return tuple(_read_state(parts, state)["shape"])


def _values_of_codes(parts: Parts, state: str) -> np.ndarray:
    said = _read_state(parts, state)
    octets = parts.read(".weight").reshape(-1).view(np.uint8)
    codes = np.stack([octets >> 4, octets & 15], axis=-1).reshape(-1)
    count = math.prod(said["shape"])
    if len(codes) != count + count % 2:
        raise ValueError(f"{len(codes)} codes for shape {said['shape']}")
    values = parts.floats(_CODES)[codes[:count]]
    return _scale(values, _scales(parts, said), said["blocksize"]).reshape(
        said["shape"]
    )


def _scales(parts: Parts, said: dict[str, Any]) -> np.ndarray:
    """Of the blocks."""
    if "nested_blocksize" not in said:
        return parts.read(_SCALE, "float32")
    scale, codes = (parts.floats(name) for name in _NESTED)
    values = codes[parts.read(_SCALE, "uint8")]
    values = _scale(values, scale, said["nested_blocksize"])
    return values + np.float32(said["nested_offset"])


def _scale(values: np.ndarray, scale: np.ndarray, size: int) -> np.ndarray:
    """Runs of `size` values by a scale each; the last may be shorter."""
    if len(scale) != -(-len(values) // size):
        raise ValueError(f"{len(scale)} scales for {len(values)} in blocks of {size}")
    whole = len(values) // size * size
    values[:whole].reshape(-1, size)[...] *= scale[: whole // size, None]
    values[whole:] *= scale[-1:]
    return values


def _shape_of_rows(parts: Parts) -> tuple[int, ...]:
    return parts.shape(".weight")


def _values_of_rows(parts: Parts) -> np.ndarray:
    if ".weight_format" in parts and parts.read(".weight_format").any():
        raise ValueError("its rows are in the order of an old kernel")
    values = parts.read(".weight", "int8").astype(np.float32)
    scale = parts.read(".SCB", "float32")
    if scale.shape != values.shape[:1]:
        raise ValueError(f"scales {scale.shape} for shape {values.shape}")
    values *= scale[:, None]
    values *= _STEP
    return values
