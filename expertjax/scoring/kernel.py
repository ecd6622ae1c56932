"""The reference kernel in JAX: concepts of one length against a block of units.

A response and its label are sorted as one 32-bit key where that is possible: in half of
the time of sorting pairs on an accelerator, in the same order. A float and a label need
33 bits; the magnitude's are therefore counted from the smallest that the unit has
(`least_magnitudes`), as `compiled` does.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from expertjax.runtime import mesh as meshes
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
    tolerance: float,
    width: int,
) -> dict[str, Array]:
    """Metrics of all units for several concepts, tile of units by tile of units.

    Tiles bound the memory, whatever U. They are of one width, since compilers round
    otherwise where arrays have other shapes: so a unit's numbers are the same to the
    bit, however many units a device has.

    Args:
      responses_NxU: float32, finite; U a multiple of `width`.
      least_U: from `least_magnitudes`, or None, to sort pairs.
      rows_Cxn: int32 rows of the concepts' sentences.
      label_Cxn: int, 1 for positives, 0 for negatives, -1 for rows to be left out;
        at least one of each of the first two.
      metrics: names in `METRICS`.
      tolerance: of ties, see `ties`.
      width: units of a tile.

    Returns:
      metric -> [C, U] float32.
    """

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


def tile_width(mesh: Mesh) -> int:
    """Units of a tile: enough to keep a device of the mesh busy."""
    return 128 if meshes.is_on_cpus(mesh) else 2048


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
    # Sorted, and filler last: where positives are counted, so are negatives.
    pos_so_far_Uxn = jnp.cumsum(label_Uxn == 1, axis=1)
    responses = Responses(
        # Filler has no response; a finite one keeps NaN out of differences.
        x=jnp.where(label_Uxn < 0, 0.0, x_Uxn),
        label=label_Uxn,
        pos_so_far=pos_so_far_Uxn,
        num_pos=jnp.sum(label_n == 1).astype(jnp.float32),
        num_neg=jnp.sum(label_n == 0).astype(jnp.float32),
    )
    is_first_Uxn = _is_first(key_Uxn, responses, tolerance)
    below, upto = _ends(is_first_Uxn, pos_so_far_Uxn, label_Uxn == 1)
    counts = {"pos_below": below[0], "neg_below": below[1]}
    counts |= {"pos_upto": upto[0], "neg_upto": upto[1]}
    return Ranking(
        **vars(responses),
        is_first=is_first_Uxn,
        **{name: count.astype(jnp.float32) for name, count in counts.items()},
    )


_Counts = tuple[Array, Array]  # [U, n] int32 each: positives and negatives


def _ends(
    is_first_Uxn: Array, pos_so_far_Uxn: Array, is_pos_Uxn: Array
) -> tuple[_Counts, _Counts]:
    """Counts before each one's threshold, and up to its end.

    Both grow along the row, so that a scan carries a threshold's ends to all of it. A
    scan costs an accelerator several passes over the tile; positives and sentences,
    whose difference the negatives are, go through it as one number where they fit.
    """
    n = is_first_Uxn.shape[1]
    is_last_Uxn = jnp.pad(is_first_Uxn[:, 1:], ((0, 0), (0, 1)), constant_values=True)
    so_far_n = jnp.arange(1, n + 1)
    forward = functools.partial(jax.lax.cummax, axis=1)
    backward = functools.partial(jax.lax.cummin, axis=1, reverse=True)
    bits = n.bit_length()

    def carry(
        scan: Callable[[Array], Array], is_end: Array, count: Array, pos: Array, to: int
    ) -> _Counts:
        if 2 * bits < 32:
            both = scan(jnp.where(is_end, count << bits | pos, to << bits | to))
            count, pos = both >> bits, both & ((1 << bits) - 1)
        else:
            count, pos = (scan(jnp.where(is_end, z, to)) for z in (count, pos))
        return pos, count - pos

    return (
        carry(forward, is_first_Uxn, so_far_n - 1, pos_so_far_Uxn - is_pos_Uxn, 0),
        carry(backward, is_last_Uxn, so_far_n, pos_so_far_Uxn, n),
    )


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
    key_Uxn, label_Uxn = jax.lax.sort(
        (key_Uxn, label_Uxn), dimension=1, num_keys=2, is_stable=False
    )
    return key_Uxn, label_Uxn, _value(key_Uxn)


def _sort_packed(x_Uxn: Array, label_Uxn: Array, least_Ux1: Array) -> _Sorted:
    bits = jax.lax.bitcast_convert_type(x_Uxn, jnp.int32)
    magnitude = bits & _MAGNITUDE
    magnitude = jnp.where(magnitude == 0, 0, magnitude - least_Ux1)
    packed = jnp.where(bits < 0, -magnitude, magnitude) * 2 + label_Uxn
    packed = jnp.where(label_Uxn < 0, _LAST, packed)
    # Equal keys are the same: a stable sort moves their positions along for nothing.
    packed = jax.lax.sort(packed, dimension=1, is_stable=False)
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
