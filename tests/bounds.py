"""What float32 allows: how far apart two right programs may be.

Machines add in different orders: by the width of their vectors, the number of their
cores, the shape of a batch, the parts that a mesh makes. What is the same program on
the same machine has to give the same bytes, and no bound of this file is for that.
"""

import math
from typing import Any

import numpy as np

ROUNDING = 2.0**-24  # the largest relative error of one operation in float32
_BFLOAT16 = 2.0**-9

# 5, as the largest of some hundred thousand errors is five of their standard
# deviations; 2, as both sides err; 2, as norms and gates multiply the errors that they
# are given; and 4 for the machines that nobody has tried.
_MARGIN = 5 * 2 * 2 * 4


def forward(depth: int, width: int) -> float:
    """How far a model's outputs may be apart, in standard deviations of the output.

    A sum of n products, added one by one, errs by about sqrt(n) roundings of its own
    size, and blocks add their errors up as independent ones: sqrt(depth * width)
    roundings, of which we allow 80. Seen: 2 to 4 of them, 16 behind gates.

    Args:
      depth: blocks.
      width: terms of the longest sum.
    """
    return _MARGIN * ROUNDING * math.sqrt(depth * width)


def of_model(model: Any) -> float:
    """`forward` of a loaded model: the widest site is the longest sum of the next."""
    return forward(model.num_layers, max(site.features for site in model.sites))


def by_unit(units: Any, responses_NxU: np.ndarray) -> np.ndarray:
    """[U] how far the responses of each unit may be apart, as they are.

    In units of the standard deviation of all responses of the unit's site and layer.

    Args:
      units: units.parquet or a UnitTable, of the columns of the responses.
      responses_NxU: right ones.
    """
    site_U, layer_U, index_U = (
        np.asarray(units[name] if hasattr(units, "columns") else getattr(units, name))
        for name in ("site", "layer", "index")
    )
    allowed_U = np.empty(len(site_U))
    for site, layer in set(zip(site_U, layer_U, strict=True)):
        here = (site_U == site) & (layer_U == layer)
        allowed_U[here] = responses_NxU[:, here].std()
    return allowed_U * forward(layer_U.max() + 1, index_U.max() + 1)


def assert_responses(ours: np.ndarray, wanted: np.ndarray, units: Any) -> None:
    """Two captures [N, U] of one model agree as far as float32 does."""
    share_NxU = np.abs(ours - wanted) / by_unit(units, wanted)
    row, unit = np.unravel_index(share_NxU.argmax(), share_NxU.shape)
    share = share_NxU[row, unit]
    print(f"{wanted.shape} responses: {share:.2f} of what float32 allows")
    both = f"{ours[row, unit]} instead of {wanted[row, unit]}"
    assert share <= 1, f"row {row}, unit {unit}: {both}, {share:.2f} of what is allowed"


def assert_outputs(ours: Any, wanted: Any, allowed: float) -> None:
    """Two arrays differ by no more than so many standard deviations of the second."""
    ours, wanted = np.asarray(ours), np.asarray(wanted)
    assert ours.shape == wanted.shape
    error = np.abs(ours - wanted).max() / wanted.std()
    assert error <= allowed, f"{error:.2e} standard deviations, {allowed:.2e} allowed"


def bfloat16(depth: int) -> float:
    """How far bfloat16 may be from float32: root mean square, in standard deviations.

    Sums are float32; what counts is the rounding of each output, and of six in a block.
    Two for gates and norms, eight for what they amplify, as blocks add up. Seen: 3.3.
    """
    return 16 * _BFLOAT16 * math.sqrt(6 * depth)


def roundings(count: float) -> float:
    """Relative error of so many operations that all err to one side, four times.

    A sum of n positive terms takes n of them in any order, log2(n) by halves.
    """
    return 4 * count * ROUNDING


def score(num_sentences: int) -> float:
    """How far a metric may be off: a mean by halves, and four operations around it.

    Of metrics from 0 to 1 as they are; of others in units of the largest response.
    """
    return roundings(math.log2(num_sentences) + 4)
