"""AWQ: 4-bit integers with a scale and a zero point for groups of inputs.

Format: AutoAWQ's `WQLinear_GEMM`. Words are packed along the outputs, and the eight
numbers of a word stand in an order that suits its kernel.
"""

import numpy as np

from expertjax.checkpoints.quantised.gptq import NOTES
from expertjax.checkpoints.quantised.numbers import (
    even_groups,
    scale_groups,
    unpack,
)
from expertjax.checkpoints.quantised.weights import Packing, Parts, Scheme
from expertjax.models.configs import ConfigReader

_BITS = 4
_PLACES = np.array([0, 4, 1, 5, 2, 6, 3, 7])  # of a word's outputs, in their order


def awq(settings: ConfigReader) -> Scheme:
    """The scheme of `quant_method` "awq"."""
    settings.rename(version="format", q_group_size="group_size", w_bit="bits")
    settings.only("bits", _BITS)
    settings.only("format", "gemm", "GEMM")
    settings.only("zero_point", True)
    settings.ignore(*NOTES)
    packing = Packing(".qweight", (".qzeros", ".scales"), (), _shape, _values)
    return Scheme("awq (4 bits)", (packing,))


def _shape(parts: Parts) -> tuple[int, ...]:
    inputs, words = parts.shape(".qweight")
    return words * 32 // _BITS, inputs


def _values(parts: Parts) -> np.ndarray:
    numbers, zero = (_unpack(parts, name) for name in (".qweight", ".qzeros"))
    scale = parts.floats(".scales")
    group = even_groups(len(numbers), len(scale))
    return scale_groups(numbers, scale, zero, group, axis=0).T


def _unpack(parts: Parts, name: str) -> np.ndarray:
    """[inputs or groups, outputs]."""
    packed = parts.read(name, "int32")
    words = unpack(packed, _BITS).reshape(*packed.shape, len(_PLACES))
    return words[..., _PLACES].reshape(len(packed), -1)
