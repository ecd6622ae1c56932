"""The legend of axis letters, and the array aliases of public signatures.

A name ends in its shape where that helps: `mask_BxT`, `units_BxU`.

    B  sentences of one batch        U  all units of a model (or a block of them)
    T  token positions               N  sentences of the pool (or of one concept)
    L  layers of a model             C  concepts
    F  units of one site             D  width of the residual stream
    V  vocabulary                    H  attention heads,  K  width of a head
    E  experts of a mixture          R  tokens with the experts that they are routed to
"""

from collections.abc import Callable
from typing import TypeAlias

import jax

Array: TypeAlias = jax.Array

# Reduces one site's activations over tokens: [B, T, F] -> [B, F]. Of an expert's units
# it is also given which tokens are routed to it, [B, T] bool: others do not count. One
# with a method `of_experts` (see `capturing.pools.Maximum`) pools all experts at once.
PoolFn: TypeAlias = Callable[..., Array]
