"""What sites call to pool: of those that all tokens reach, and of experts."""

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from expertjax.absent import ABSENT
from expertjax.capturing.pooling import (
    Pooling,
    first_of_all,
    first_token,
    pool_every_token,
    pool_tokens,
)
from expertjax.models.routing import Routing
from expertjax.typing import Array, PoolFn


@dataclasses.dataclass(frozen=True)
class Maximum:
    """Pools by the maximum, see `pool_tokens`; a `PoolFn` with `of_experts`.

    Attributes:
      mask_BxT: bool, the tokens that count; at least one of each sentence.
      every_token: do all of them? NaN is then passed over on CPUs.
      with_first: give the activation at the first of them beside it.
    """

    mask_BxT: Array
    every_token: bool = False
    with_first: bool = False

    def __call__(self, z_BxTxF: Array, routed_BxT: Array | None = None) -> Array:
        """[B, F], or [2, B, F], so that sentences stay with their devices."""
        if self.every_token:
            top_BxF = pool_every_token(z_BxTxF, routed_BxT)
        else:
            top_BxF = pool_tokens("max", self.mask_BxT, z_BxTxF, routed_BxT)
        if not self.with_first:
            return top_BxF
        if self.every_token:
            first_BxF = first_of_all(z_BxTxF, routed_BxT)
        else:
            first_BxF = first_token(self.mask_BxT, z_BxTxF, routed_BxT)
        return jnp.stack([top_BxF, first_BxF])

    def of_experts(
        self, z_RxF: Array, routing: Routing, experts: Sequence[int]
    ) -> Array:
        """The same of some experts, in one pass over the rows that reach them.

        Args:
          z_RxF: outputs of all experts, a row for each pair of token and expert.
          routing: which these are.
          experts: ascending numbers of those that are wanted.

        Returns:
          [len(experts), B, F], or [.., 2, B, F].
        """
        top_ExBxF = self._top(z_RxF, routing, experts)
        if not self.with_first:
            return top_ExBxF
        batch, _ = routing.shape
        first_B = jnp.zeros(batch, int)
        if not self.every_token:
            first_B = jnp.argmax(self.mask_BxT, axis=1)
        row_ExB = routing.rows()[np.array(experts)][:, jnp.arange(batch), first_B]
        first_ExBxF = z_RxF.at[row_ExB].get(mode="fill", fill_value=0)
        is_there = row_ExB[:, :, None] < len(z_RxF)
        first_ExBxF = jnp.where(is_there, first_ExBxF, ABSENT)
        return jnp.stack([top_ExBxF, first_ExBxF], axis=1)

    def _top(self, z_RxF: Array, routing: Routing, experts: Sequence[int]) -> Array:
        batch, length = routing.shape
        number = len(experts)
        place_E = np.full(len(routing.sizes), number)
        place_E[list(experts)] = np.arange(number)
        # A segment is an expert and a sentence; beyond the last are unwanted experts.
        segment_R = jnp.asarray(place_E)[routing.expert] * batch
        segment_R += routing.token // length
        counted_R = jnp.ones(len(z_RxF), bool)
        if not self.every_token:
            counted_R = self.mask_BxT.ravel()[routing.token]
            z_RxF = jnp.where(counted_R[:, None], z_RxF, -jnp.inf)
        top = jnp.full((number * batch, z_RxF.shape[1]), -jnp.inf, z_RxF.dtype)
        top = top.at[segment_R].max(z_RxF, mode="drop")
        is_there = jnp.zeros(number * batch, bool)
        is_there = is_there.at[segment_R].max(counted_R, mode="drop")
        top = jnp.where(is_there[:, None], top, ABSENT)
        return top.reshape(number, batch, -1)


def pool_fn(pooling: Pooling, mask_BxT: Array) -> PoolFn:
    """`pool_tokens` as the function that every site calls."""
    if pooling == "max":
        return Maximum(mask_BxT)
    return functools.partial(pool_tokens, pooling, mask_BxT)
