"""Tokens on their way to the experts of a mixture (Shazeer et al. 2017).

Each token goes to k of E experts. The pairs of token and expert are sorted by expert,
so that every expert multiplies a run of rows and nothing else.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from expertjax.typing import Array

_BLOCKS_PER_EXPERT = 4  # of rows; the last one is half empty on average
_LEAST_ROWS, _MOST_ROWS = 8, 256  # of a block


@dataclasses.dataclass(frozen=True)
class Routing:
    """Which tokens go where: R = B * T * k pairs, sorted by expert, then by token.

    Attributes:
      shape: (B, T).
      expert: [R] the expert of each pair, ascending.
      token: [R] its token, out of B * T.
      sizes: [E] how many pairs each expert has.
      place: [B * T, k] where the pairs of a token stand among the R.
      weight: [B * T, k] float32: what the outputs of its experts are multiplied with.
    """

    shape: tuple[int, int]
    expert: Array
    token: Array
    sizes: Array
    place: Array
    weight: Array

    @classmethod
    def of(cls, logits_BxTxE: Array, k: int, normalise: bool) -> "Routing":
        """Each token goes to the k experts of highest logit; of equal ones the first.

        Args:
          logits_BxTxE: of the router.
          k: experts of a token.
          normalise: weights are probabilities among all experts, or (True) among the k.
        """
        *shape, num_experts = logits_BxTxE.shape
        logits = logits_BxTxE.reshape(-1, num_experts).astype(jnp.float32)
        weight, expert = jax.lax.top_k(jax.nn.softmax(logits, -1), k)
        if normalise:
            weight /= weight.sum(-1, keepdims=True)
        order = jnp.argsort(expert.ravel(), stable=True)
        return cls(
            shape=(shape[0], shape[1]),
            expert=expert.ravel()[order],
            token=order // k,
            sizes=jnp.bincount(expert.ravel(), length=num_experts),
            place=jnp.argsort(order).reshape(-1, k),
            weight=weight,
        )

    def spread(self, x_BxTxD: Array) -> Array:
        """[R, D]: a row for each pair."""
        return x_BxTxD.reshape(-1, x_BxTxD.shape[-1])[self.token]

    def combine(self, y_RxD: Array) -> Array:
        """[B, T, D]: the weighted sum over a token's experts."""
        y_NxkxD = y_RxD[self.place] * self.weight[:, :, None]
        return y_NxkxD.sum(1).astype(y_RxD.dtype).reshape(*self.shape, -1)

    def rows(self) -> Array:
        """[E, B, T]: the row of each expert and token; R where there is none."""
        num_pairs = len(self.token)
        batch, length = self.shape
        none = jnp.full((len(self.sizes), batch * length), num_pairs, jnp.int32)
        pairs = jnp.arange(num_pairs, dtype=jnp.int32)
        return none.at[self.expert, self.token].set(pairs).reshape(-1, batch, length)


def grouped_dot(x_RxD: Array, kernel_ExDxF: Array, sizes_E: Array) -> Array:
    """Each run of rows times its expert's kernel.

    On TPUs this is `jax.lax.ragged_dot`. On other devices that function runs every
    expert on every row, of which the loop here is free.

    Args:
      x_RxD: rows, sorted by expert.
      kernel_ExDxF: of the experts.
      sizes_E: rows of each; together R.

    Returns:
      [R, F]
    """
    # Of bfloat16 every precision says the same, but libtpu 0.0.42 compiles this only.
    is_narrow = x_RxD.dtype == jnp.bfloat16
    precision = jax.lax.Precision.DEFAULT if is_narrow else None
    ragged_dot = functools.partial(jax.lax.ragged_dot, precision=precision)
    return jax.lax.platform_dependent(
        x_RxD, kernel_ExDxF, sizes_E, tpu=ragged_dot, default=_by_blocks
    )


def _by_blocks(x_RxD: Array, kernel_ExDxF: Array, sizes_E: Array) -> Array:
    """A few rows at a time, as many blocks of each expert as it has rows for.

    The last block of an expert reaches into the rows of the next one, which writes
    over it.
    """
    num_rows, num_experts = len(x_RxD), len(sizes_E)
    per_block = num_rows // (num_experts * _BLOCKS_PER_EXPERT)
    block = min(max(per_block, _LEAST_ROWS), _MOST_ROWS, num_rows)
    x_RxD = jnp.pad(x_RxD, ((0, block), (0, 0)))

    def of_expert(y_RxF: Array, expert: tuple[Array, Array, Array]) -> tuple:
        kernel_DxF, start, size = expert

        def of_block(i: Array, y_RxF: Array) -> Array:
            first = start + i * block
            rows = jax.lax.dynamic_slice_in_dim(x_RxD, first, block)
            return jax.lax.dynamic_update_slice_in_dim(
                y_RxF, rows @ kernel_DxF, first, 0
            )

        return jax.lax.fori_loop(0, -(-size // block), of_block, y_RxF), None

    start_E = jnp.cumsum(sizes_E) - sizes_E
    y_RxF = jnp.zeros((len(x_RxD), kernel_ExDxF.shape[-1]), x_RxD.dtype)
    y_RxF, _ = jax.lax.scan(of_expert, y_RxF, (kernel_ExDxF, start_E, sizes_E))
    return y_RxF[:num_rows]
