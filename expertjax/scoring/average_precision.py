"""`average_precision` for arrays that are already in memory."""

import numpy as np

from expertjax.concepts.pool import Membership
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.scoring.blocks import make_scorer
from expertjax.scoring.settings import Kernel


@jax_settings()
def average_precision(
    responses: np.ndarray,
    labels: np.ndarray,
    kernel: Kernel = "auto",
    tie_tolerance: float = 0.0,
) -> np.ndarray:
    """AP of every unit for every concept, tied responses being one threshold.

    The same as scikit-learn's `average_precision_score` for each pair, unless near-ties
    are to be ties.

    Args:
      responses: [N, U], finite; compared as float32.
      labels: [N, C] of 1 (positive), 0 (negative) and -1 (not in the concept).
      kernel: "auto", "jax" or "compiled".
      tie_tolerance: as in `ScoreSettings`; 0 ties what is equal to the bit.

    Returns:
      [C, U] float32.

    Raises:
      InputError: shapes or labels that do not fit, a concept without positives
        or negatives, a response that is not finite.
    """
    responses, labels = np.asarray(responses), np.asarray(labels)
    shapes = responses.shape, labels.shape
    if any(len(shape) != 2 or 0 in shape for shape in shapes) or (
        len(responses) != len(labels)
    ):
        raise InputError(
            f"expected responses [N, U] and labels [N, C]; got {shapes[0]} "
            f"and {shapes[1]}"
        )
    if not np.isin(labels, (-1, 0, 1)).all():
        raise InputError("labels: expected 1, 0 and -1 only")
    with np.errstate(over="ignore"):
        responses = responses.astype(np.float32)
    if not np.isfinite(responses).all():
        row, unit = np.argwhere(~np.isfinite(responses))[0]
        raise InputError(
            f"the response of unit {unit} to sentence {row} is {responses[row, unit]}"
        )
    members = []
    for concept in range(labels.shape[1]):
        rows = np.flatnonzero(labels[:, concept] >= 0).astype(np.int32)
        member = Membership(rows, labels[rows, concept].astype(np.int8))
        if not member.num_positives or not member.num_negatives:
            raise InputError(f"concept {concept} needs a positive and a negative")
        members.append(member)
    return make_scorer(members, ["ap"], kernel, tolerance=tie_tolerance)(responses)[
        "ap"
    ]
