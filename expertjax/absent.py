"""Responses that there are none of: no token of the sentence reaches the unit's expert.

The units of a mixture's expert are there only at the tokens that are routed to it. A
sentence none of whose tokens reach it is to rank below every one that does, and all
such sentences as one tie.

Kept is the lowest number that the store's dtype has: finite, and no model's response.
What is scored and shown is another one. A number so far away would decide the unit's
standard deviation, in which near-ties are measured (`scoring.ties`), and tie all that
is there. So it is the lowest response that the unit has, less a standard deviation of
those that it has, over the sentences that are scored together.
"""

import re
from typing import Any

import jax.numpy as jnp
import numpy as np

from expertjax.typing import Array

ABSENT = float(jnp.finfo(jnp.bfloat16).min)  # of float32, which has it too

# In the name of a site: of an expert, whose units are not there at every token.
ROUTED = re.compile(r"\bexperts\.\d+\.")

_LEAST_STEP = 1 / 32  # of the lowest response, for units that hardly move


def narrowed(x: Array, dtype: Any) -> Array:
    """Float32 responses in the dtype of a store, `ABSENT` as its lowest number."""
    lowest = max(ABSENT, float(jnp.finfo(dtype).min))
    return jnp.where(x == ABSENT, lowest, x).astype(dtype)


def widened(x: np.ndarray) -> np.ndarray:
    """The inverse, on the host: float32."""
    wide = x.astype(np.float32, copy=False)
    if x.dtype == np.float16:
        wide[x == np.finfo(np.float16).min] = ABSENT
    return wide


def floored(x_NxU: np.ndarray) -> np.ndarray:
    """Responses as they are scored: `ABSENT` ones below each unit's others.

    Args:
      x_NxU: float32; not changed.

    Returns:
      [N, U]; the very array where nothing is absent. A unit without any response is 0.
    """
    is_absent_U = x_NxU.min(0) == ABSENT
    if not is_absent_U.any():
        return x_NxU
    columns = x_NxU[:, is_absent_U]
    present = columns != ABSENT
    lowest = np.min(columns, 0, where=present, initial=np.inf)
    lowest = np.where(np.isinf(lowest), 0, lowest)
    count = np.maximum(present.sum(0), 1)
    # About the lowest, so that large responses lose nothing.
    above = np.where(present, columns - lowest, 0).astype(np.float64)
    mean = above.sum(0) / count
    std = np.sqrt(np.sum((above - mean) ** 2, 0, where=present) / count)
    step = np.maximum(std, np.abs(lowest) * _LEAST_STEP)
    floor = np.where(present.any(0), lowest - np.where(step > 0, step, 1), 0)
    x_NxU = x_NxU.copy()
    x_NxU[:, is_absent_U] = np.where(present, columns, floor.astype(np.float32))
    return x_NxU
