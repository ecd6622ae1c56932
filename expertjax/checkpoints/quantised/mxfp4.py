"""mxfp4: 4-bit floats with a power of two for each 32, as gpt_oss keeps its experts.

Format: OCP Microscaling Formats 1.0, as in transformers' integrations/mxfp4.py:
blocks [E, O, G, 16] of bytes, the exponents' bits [E, O, G]; the weight is [E, I, O].
"""

import math

import numpy as np

from expertjax.checkpoints.quantised.numbers import unpack_e2m1
from expertjax.checkpoints.quantised.weights import Packing, Parts, Scheme
from expertjax.models.configs import ConfigReader

_BIAS = 127  # of the exponents


def mxfp4(settings: ConfigReader) -> Scheme:
    """The scheme of `quant_method` "mxfp4"."""
    settings.ignore("modules_to_not_convert", "dequantize")
    packing = Packing("_blocks", ("_scales",), (), _shape, _values, weight="")
    return Scheme("mxfp4", (packing,))


def _shape(parts: Parts) -> tuple[int, ...]:
    *leading, outputs, groups, octets = parts.shape("_blocks")
    return *leading, groups * octets * 2, outputs


def _values(parts: Parts) -> np.ndarray:
    blocks, scale = (parts.read(name, "uint8") for name in ("_blocks", "_scales"))
    if scale.shape != blocks.shape[:-1]:
        raise ValueError(f"_scales {scale.shape} for _blocks {blocks.shape}")
    values = unpack_e2m1(blocks)
    values = np.ldexp(values, scale[..., None].astype(np.int32) - _BIAS, out=values)
    inputs = math.prod(values.shape[-2:])
    return values.reshape(*values.shape[:-2], inputs).swapaxes(-1, -2)
