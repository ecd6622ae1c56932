"""Weights of a mixture's experts, which llama.cpp keeps gate and up apart.

Its tensors are [E, out, in], biases [E, out]. Hugging Face has gate and up as parts of
one: the outputs of all gates before those of all ups; or (gpt-oss) dealt out in turn,
gate and up of each hidden unit, and then weights are [E, in, out].
"""

from collections.abc import Sequence

import numpy as np


def is_of_experts(key: str) -> bool:
    """Is it a tensor of all experts, by Hugging Face's name?"""
    return ".experts." in key


def joined_shape(parts: Sequence[tuple[int, ...]], dealt_out: bool) -> tuple[int, ...]:
    """The shape of the whole.

    Args:
      parts: shapes as llama.cpp has them, all alike.
      dealt_out: as gpt-oss has it.
    """
    experts, outputs, *inputs = parts[0]
    outputs *= len(parts)
    return (experts, *inputs, outputs) if dealt_out else (experts, outputs, *inputs)


def place_of(whole: np.ndarray, part: int, parts: int, dealt_out: bool) -> np.ndarray:
    """Where one part of the whole is to be written: a view.

    Args:
      whole: of `joined_shape`.
      part: from 0.
      parts: how many there are.
      dealt_out: as for `joined_shape`.
    """
    if dealt_out:
        return np.moveaxis(whole, -1, 1)[:, part::parts]
    outputs = whole.shape[1] // parts
    return whole[:, part * outputs : (part + 1) * outputs]
