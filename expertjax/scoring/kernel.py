"""The reference kernel in JAX: one concept against a block of units.

Average precision is that of scikit-learn's `average_precision_score`:
AP = sum_t (R_t - R_{t-1}) P_t over *distinct* thresholds t, so that tied
responses form one threshold. Chance level is the share of positives.
"""

import jax
import jax.numpy as jnp

from expertjax.typing import Array

METRICS = ("ap", "auroc", "on_p50", "on_p90", "off_mean", "off_p50")


def score_units(responses_nxU: Array, label_n: Array) -> dict[str, Array]:
    """All metrics of all units for one concept.

    Args:
      responses_nxU: float32, finite.
      label_n: int, 1 for positives, 0 for negatives, -1 for rows to be left
        out; at least one of each of the first two.

    Returns:
      metric -> [U] float32: `ap`, `auroc`, `on_p50` and `on_p90` (percentiles of
      the responses to positives, interpolated linearly), `off_mean` and
      `off_p50` (of those to negatives).
    """
    key_Uxn = _sort_key(responses_nxU.T)
    label_Uxn = jnp.broadcast_to(label_n, key_Uxn.shape)
    # Descending; rows that are left out come last.
    last = jnp.iinfo(jnp.int32).max  # the key of no finite number
    order = jnp.where(label_Uxn < 0, last, ~key_Uxn)
    order, label_Uxn = jax.lax.sort((order, label_Uxn), dimension=1, num_keys=1)
    x_Uxn = _value(~order)
    tp = jnp.cumsum(label_Uxn == 1, axis=1)
    fp = jnp.cumsum(label_Uxn == 0, axis=1)
    # The last position of each run of ties.
    following = jnp.pad(order[:, 1:], ((0, 0), (0, 1)), constant_values=last)
    is_end = (order != following) & (label_Uxn >= 0)
    tp_before, fp_before = _at_previous_end(tp, is_end), _at_previous_end(fp, is_end)
    num_pos, num_neg = tp[:, -1], fp[:, -1]
    ap = jnp.where(is_end, (tp - tp_before) * (tp / jnp.maximum(tp + fp, 1)), 0.0)
    # Shares before products: n_pos * n_neg may be more than an int32 holds.
    beaten = (tp + tp_before) * 0.5 / num_pos[:, None]
    wins = jnp.where(is_end, (fp - fp_before) / num_neg[:, None] * beaten, 0.0)
    off_sum = jnp.sum(jnp.where(label_Uxn == 0, x_Uxn, 0.0), axis=1)
    return {
        "ap": jnp.sum(ap, axis=1) / num_pos,
        "auroc": jnp.sum(wins, axis=1),
        "on_p50": _percentile(x_Uxn, tp, 50),
        "on_p90": _percentile(x_Uxn, tp, 90),
        "off_mean": off_sum / num_neg,
        "off_p50": _percentile(x_Uxn, fp, 50),
    }


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


def _at_previous_end(count_Uxn: Array, is_end_Uxn: Array) -> Array:
    """The count at the end of the run of ties before each position's own."""
    at_end = jnp.where(is_end_Uxn, count_Uxn, 0)
    shifted = jnp.concatenate([jnp.zeros_like(at_end[:, :1]), at_end[:, :-1]], 1)
    return jax.lax.cummax(shifted, axis=1)


def _percentile(x_Uxn: Array, count_Uxn: Array, q: int) -> Array:
    """Percentile of the rows that `count` counts, of values in descending order."""
    total_U = count_Uxn[:, -1]
    low, hundredths = jnp.divmod((total_U - 1) * q, 100)

    def ascending(k_U: Array) -> Array:
        # The k-th from below is the (total - k)-th that is counted from above.
        find = jax.vmap(lambda count, rank: jnp.searchsorted(count, rank))
        i_U = find(count_Uxn, total_U - k_U)
        return jnp.take_along_axis(x_Uxn, i_U[:, None], axis=1)[:, 0]

    below = ascending(low)
    above = ascending(jnp.minimum(low + 1, total_U - 1))
    return below + (above - below) * (hundredths / 100)
