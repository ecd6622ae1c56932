"""Edits: one affine change per unit, and the helper that every site calls."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from expertjax.errors import InputError
from expertjax.models.sites import Site, UnitTable
from expertjax.typing import Array, PoolFn


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Edit:
    """z <- scale * z + shift, for every unit at every token.

    All published interventions on units are of this form: forcing a value v is
    (0, v), ablation (0, 0), damping (alpha, 0). A pytree, so that an edit with
    other values never retraces a jitted model.

    Attributes:
      scale: site name -> [L, F], or [L, B, F] for another edit per sentence.
      shift: likewise.
    """

    scale: Mapping[str, Array]
    shift: Mapping[str, Array]

    @classmethod
    def identity(cls, sites: Sequence[Site], num_layers: int) -> "Edit":
        """The edit that changes nothing."""
        shapes = {site.name: (num_layers, site.features) for site in sites}
        return cls(
            scale={name: jnp.ones(shape) for name, shape in shapes.items()},
            shift={name: jnp.zeros(shape) for name, shape in shapes.items()},
        )

    @classmethod
    def from_units(
        cls,
        sites: Sequence[Site],
        num_layers: int,
        table: UnitTable,
        units: np.ndarray,
        scale: float | np.ndarray,
        shift: float | np.ndarray,
    ) -> "Edit":
        """The edit that changes some units and leaves the others as they are.

        Args:
          sites: all sites of the model.
          num_layers: L.
          table: the table in which `units` are numbered.
          units: [K] unit numbers.
          scale: one number or [K].
          shift: one number or [K].

        Raises:
          InputError: a unit number is outside the table.
        """
        units = np.asarray(units, dtype=np.int64)
        outside = units[(units < 0) | (units >= table.num_units)]
        if outside.size:
            raise InputError(
                f"unit {outside[0]} is not one of the {table.num_units} units, "
                "which are numbered from 0"
            )
        values = [np.broadcast_to(v, units.shape) for v in (scale, shift)]
        edit = cls.identity(sites, num_layers)
        arrays = [
            {name: np.array(array) for name, array in part.items()}
            for part in (edit.scale, edit.shift)
        ]
        for part, value in zip(arrays, values, strict=True):
            for name in part:
                here = table.site[units] == name
                where = table.layer[units[here]], table.index[units[here]]
                part[name][where] = value[here]
        scales, shifts = (
            {name: jnp.asarray(array) for name, array in part.items()}
            for part in arrays
        )
        return cls(scale=scales, shift=shifts)


class Tap:
    """What happens at every site of one block: edit, then pool, then pass on.

    Made anew for each layer inside the scan, so `recorded` only ever holds
    values of the trace that made it.
    """

    def __init__(
        self, edit: Edit | None, pool: PoolFn | None, record: frozenset[str]
    ) -> None:
        self._edit = edit  # of this layer: [F] or [B, F]
        self._pool = pool
        self._record = record
        self.recorded: dict[str, Array] = {}

    def __call__(self, site: str, z_BxTxF: Array) -> Array:
        """Returns the site's (edited) outputs and keeps their pooled value."""
        if self._edit is not None and site in self._edit.scale:
            scale, shift = self._edit.scale[site], self._edit.shift[site]
            if scale.ndim == 2:  # an edit per sentence: the same at all tokens
                scale, shift = scale[:, None, :], shift[:, None, :]
            z_BxTxF = (scale * z_BxTxF + shift).astype(z_BxTxF.dtype)
        if self._pool is not None and site in self._record:
            self.recorded[site] = self._pool(z_BxTxF)
        return z_BxTxF
