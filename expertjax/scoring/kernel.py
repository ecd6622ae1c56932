"""The reference kernel in JAX: concepts of one length against a block of units.

A response and its label are sorted as one 32-bit key where that is possible: in half of
the time of sorting pairs on an accelerator, in the same order. A float and a label need
33 bits; the magnitude's are therefore counted from the smallest that the unit has
(`least_magnitudes`), as `compiled` does.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from expertjax.scoring import ties
from expertjax.scoring.metrics import METRICS, Ranking, Responses
from expertjax.typing import Array

_LAST = jnp.iinfo(jnp.int32).max  # the sort key of no finite number
_MAGNITUDE = jnp.iinfo(jnp.int32).max  # the bits of a float without its sign


def least_magnitudes(responses_NxU: Array) -> tuple[Array, Array]:
    """From where magnitudes are counted so that response and label are one key.

    Args:
      responses_NxU: float32, finite.

    Returns:
      [U] int32, for `score_concepts`; and [] bool: does it do for all of these units?
      Not for those whose largest response is over 2^127 times the smallest.
    """
    bits = jax.lax.bitcast_convert_type(responses_NxU, jnp.int32) & _MAGNITUDE
    least_U = jnp.min(jnp.where(bits == 0, _MAGNITUDE, bits), axis=0) - 1
    # The largest key belongs to filler.
    return least_U, jnp.all(jnp.max(bits, axis=0) - least_U < 2**30 - 1)


def score_concepts(
    responses_NxU: Array,
    least_U: Array | None,
    rows_Cxn: Array,
    label_Cxn: Array,
    metrics: Sequence[str],
    tolerance: float = 0.0,
) -> dict[str, Array]:
    """Metrics of all units for several concepts, tile of units by tile of units.

    Tiles bound the memory, whatever U. They are of one width, since compilers round
    otherwise where arrays have other shapes: so a unit's numbers are the same to the
    bit, however many units a device has.

    Args:
      responses_NxU: float32, finite; U a multiple of `tile_width()`.
      least_U: from `least_magnitudes`, or None, to sort pairs.
      rows_Cxn: int32 rows of the concepts' sentences.
      label_Cxn: int, 1 for positives, 0 for negatives, -1 for rows to be left out;
        at least one of each of the first two.
      metrics: names in `METRICS`.
      tolerance: of ties, see `ties`.

    Returns:
      metric -> [C, U] float32.
    """
    width = tile_width()

    def score_tile(place: Array) -> dict[str, Array]:
        c, first = place
        x_NxW = jax.lax.dynamic_slice_in_dim(responses_NxU, first, width, axis=1)
        least_W = None
        if least_U is not None:
            least_W = jax.lax.dynamic_slice_in_dim(least_U, first, width)
        ranking = rank(x_NxW[rows_Cxn[c]], label_Cxn[c], tolerance, least_W)
        return {name: METRICS[name](ranking) for name in metrics}

    num_concepts = len(rows_Cxn)
    starts = jnp.arange(0, responses_NxU.shape[1], width)
    c = jnp.repeat(jnp.arange(num_concepts), len(starts))
    scores = jax.lax.map(score_tile, (c, jnp.tile(starts, num_concepts)))
    return {name: value.reshape(num_concepts, -1) for name, value in scores.items()}


def tile_width() -> int:
    """Units of a tile: enough to keep the device busy."""
    return 128 if jax.default_backend() == "cpu" else 2048


def rank(
    responses_nxU: Array,
    label_n: Array,
    tolerance: float = 0.0,
    least_U: Array | None = None,
) -> Ranking:
    """Sorts every unit's responses to a concept's sentences.

    Args:
      responses_nxU: float32, finite.
      label_n: as in `score_concepts`.
      tolerance: of ties, see `ties`.
      least_U: as in `score_concepts`.
    """
    label_Uxn = jnp.broadcast_to(label_n, responses_nxU.T.shape)
    if least_U is None:
        key_Uxn, label_Uxn, x_Uxn = _sort_pairs(responses_nxU.T, label_Uxn)
    else:
        sort = _sort_packed(responses_nxU.T, label_Uxn, least_U[:, None])
        key_Uxn, label_Uxn, x_Uxn = sort
    responses = Responses(
        # Filler has no response; a finite one keeps NaN out of differences.
        x=jnp.where(label_Uxn < 0, 0.0, x_Uxn),
        label=label_Uxn,
        num_pos=jnp.sum(label_n == 1).astype(jnp.float32),
        num_neg=jnp.sum(label_n == 0).astype(jnp.float32),
    )
    is_first = _is_first(key_Uxn, responses, tolerance)
    is_last = jnp.pad(is_first[:, 1:], ((0, 0), (0, 1)), constant_values=True)
    counts = {}
    for name, label in (("pos", 1), ("neg", 0)):
        is_one = label_Uxn == label
        upto = jnp.cumsum(is_one, axis=1)
        before = upto - is_one
        # Both counts grow along the row: carry a run's ends to all of the run.
        below = jax.lax.cummax(jnp.where(is_first, before, 0), axis=1)
        last = jnp.where(is_last, upto, upto.shape[1])
        counts[f"{name}_below"] = below.astype(jnp.float32)
        counts[f"{name}_upto"] = jax.lax.cummin(last, axis=1, reverse=True).astype(
            jnp.float32
        )
    lowest = jax.lax.cummax(jnp.where(is_first, responses.x, -jnp.inf), axis=1)
    return Ranking(**vars(responses), lowest=lowest, **counts)


def _is_first(key_Uxn: Array, responses: Responses, tolerance: float) -> Array:
    """[U, n] bool: where a threshold begins. Filler makes one of its own."""
    if tolerance == 0:
        return ties.is_first_exactly(key_Uxn)
    is_filler = responses.label < 0
    found = ties.is_first(
        jnp.where(is_filler, jnp.inf, responses.x),
        responses.mean_response(None),
        responses.std_response(None),
        tolerance,
    )
    return jnp.where(is_filler, ties.is_first_exactly(key_Uxn), found)


# Responses and labels -> keys of responses in ascending order, labels, responses. The
# label counts second: sums do not depend on the order of the sentences. Filler is last.
_Sorted = tuple[Array, Array, Array]


def _sort_pairs(x_Uxn: Array, label_Uxn: Array) -> _Sorted:
    key_Uxn = jnp.where(label_Uxn < 0, _LAST, _sort_key(x_Uxn))
    key_Uxn, label_Uxn = jax.lax.sort((key_Uxn, label_Uxn), dimension=1, num_keys=2)
    return key_Uxn, label_Uxn, _value(key_Uxn)


def _sort_packed(x_Uxn: Array, label_Uxn: Array, least_Ux1: Array) -> _Sorted:
    bits = jax.lax.bitcast_convert_type(x_Uxn, jnp.int32)
    magnitude = bits & _MAGNITUDE
    magnitude = jnp.where(magnitude == 0, 0, magnitude - least_Ux1)
    packed = jnp.where(bits < 0, -magnitude, magnitude) * 2 + label_Uxn
    packed = jnp.where(label_Uxn < 0, _LAST, packed)
    packed = jax.lax.sort(packed, dimension=1)
    label_Uxn = jnp.where(packed == _LAST, -1, packed & 1)
    key_Uxn = packed >> 1
    magnitude = jnp.where(key_Uxn == 0, 0, jnp.abs(key_Uxn) + least_Ux1)
    sign = jnp.where(key_Uxn < 0, jnp.iinfo(jnp.int32).min, 0)
    return (
        key_Uxn,
        label_Uxn,
        jax.lax.bitcast_convert_type(magnitude | sign, jnp.float32),
    )


def _sort_key(x: Array) -> Array:
    """int32 in the order of the floats; exact for subnormals, one key for +-0.

    Float comparison would do on most platforms, but some flush subnormals.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    bits = jnp.where(bits == jnp.iinfo(jnp.int32).min, 0, bits)  # -0 is 0
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _value(key: Array) -> Array:
    """The float of a key; the map is its own inverse."""
    return jax.lax.bitcast_convert_type(key ^ ((key >> 31) & 0x7FFFFFFF), jnp.float32)
