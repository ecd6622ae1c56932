"""What a layer's attention goes by beside queries, keys and values."""

import dataclasses

import jax.numpy as jnp

from expertjax.models.attention import Rotary
from expertjax.typing import Array


@dataclasses.dataclass(frozen=True)
class View:
    """Which keys a token sees, and the rotation of queries and keys."""

    mask: Array  # [B, 1, T, S]
    rotary: Rotary
    bias: Array | None = None  # of the scores, [B, H, T, S], or less that is broadcast

    def where(self, here: Array, other: "View") -> "View":
        """This one where `here`, else the other."""
        cos = jnp.where(here, self.rotary.cos, other.rotary.cos)
        sin = jnp.where(here, self.rotary.sin, other.rotary.sin)
        mask = jnp.where(here, self.mask, other.mask)
        return View(mask, self.rotary._replace(cos=cos, sin=sin))

    def unrotated(self, here: Array) -> "View":
        """This one, without positions where `here`."""
        cos = jnp.where(here, 1.0, self.rotary.cos)
        sin = jnp.where(here, 0.0, self.rotary.sin)
        return dataclasses.replace(self, rotary=self.rotary._replace(cos=cos, sin=sin))
