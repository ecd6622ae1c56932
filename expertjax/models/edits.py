"""Edits: one affine change per unit, and the helper that every site calls."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from expertjax.models.routing import Routing
from expertjax.models.sites import Site, UnitTable
from expertjax.typing import Array, PoolFn


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Edit:
    """z <- scale * z + shift, for every unit at every token that reaches it.

    All published interventions on units are of this form: forcing a value v is
    (0, v), ablation (0, 0), damping (alpha, 0). A pytree, so that an edit with
    other values never retraces a jitted model.

    Attributes:
      scale: site name -> [L, F], or [L, B, F] for another edit per sentence, or
        [L, E, F] where a probe's `choice` says which of E edits a sentence gets.
      shift: likewise.
    """

    scale: Mapping[str, Array]
    shift: Mapping[str, Array]

    @classmethod
    def stack(cls, edits: Sequence["Edit"]) -> "Edit":
        """Several edits [L, F] as one [L, E, F], for a probe with a `choice`."""
        return jax.tree.map(lambda *parts: jnp.stack(parts, axis=1), *edits)

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
        table.check(units)
        return cls.at(
            sites,
            num_layers,
            table.site[units],
            table.layer[units],
            table.index[units],
            scale,
            shift,
        )

    @classmethod
    def at(
        cls,
        sites: Sequence[Site],
        num_layers: int,
        site: np.ndarray,
        layer: np.ndarray,
        index: np.ndarray,
        scale: float | np.ndarray,
        shift: float | np.ndarray,
    ) -> "Edit":
        """`from_units` for units given by where they are.

        Args:
          sites: all sites of the model.
          num_layers: L.
          site: [K] names.
          layer: [K].
          index: [K] output coordinates.
          scale: one number or [K].
          shift: one number or [K].
        """
        identity = cls.identity(sites, num_layers)
        parts = []
        for part, value in ((identity.scale, scale), (identity.shift, shift)):
            arrays = {name: np.array(array) for name, array in part.items()}
            value = np.broadcast_to(value, len(site))
            for name, array in arrays.items():
                here = site == name
                array[layer[here], index[here]] = value[here]
            parts.append({name: jnp.asarray(array) for name, array in arrays.items()})
        return cls(*parts)


class Cache(NamedTuple):
    """Keys and values of earlier tokens, for decoding one token at a time.

    Attributes:
      keys: [L, B, S, G, K]; inside the scan [B, S, G, K].
      values: likewise.
      length: scalar int: how many of the S slots are filled.
    """

    keys: Array
    values: Array
    length: Array


class Probe(NamedTuple):
    """What a forward pass is to do at its sites, beside computing.

    Attributes:
      edit: affine changes, or None.
      pool: reduces [B, T, F] to [B, F], see `PoolFn`; None records nothing.
      record: names of the sites to pool.
      chosen: site name -> [L, K] int, the units of it that are pooled, see
        `sites.ChosenUnits`; None is all.
      cache: keys and values of earlier tokens, or None.
      depth: layers to run, where what comes above them is of no interest; None runs
        all. What the model returns beside the pooled sites is of no use then.
      choice: [B] int: of several edits, [L, E, F], the one that each sentence gets.
      slots: without a cache, how many tokens there is to be room for in a new one.
    """

    edit: Edit | None = None
    pool: PoolFn | None = None
    record: frozenset[str] = frozenset()
    chosen: Mapping[str, Array] | None = None
    cache: Cache | None = None
    depth: int | None = None
    choice: Array | None = None
    slots: int | None = None


PLAIN = Probe()  # only compute


class Tap:
    """What happens at every site of one block: edit, then pool, then pass on.

    Made anew for each layer inside the scan, so what it keeps only ever holds
    values of the trace that made it.

    Attributes:
      recorded: site name -> [B, F], of the sites that the probe asks for.
      cache: this layer's keys and values after the pass.
    """

    def __init__(self, probe: Probe) -> None:
        """Takes a probe whose edit, chosen units and cache are those of one layer."""
        self._probe = probe
        self.cache = probe.cache
        self.recorded: dict[str, Array] = {}

    def __call__(self, site: str, z_BxTxF: Array) -> Array:
        """Returns the site's (edited) outputs and keeps their pooled value."""
        edit, pool, record, chosen, *_ = self._probe
        if edit is not None and site in edit.scale:
            scale, shift = edit.scale[site], edit.shift[site]
            if self._probe.choice is not None:
                scale, shift = scale[self._probe.choice], shift[self._probe.choice]
            if scale.ndim == 2:  # an edit per sentence: the same at all tokens
                scale, shift = scale[:, None, :], shift[:, None, :]
            z_BxTxF = (scale * z_BxTxF + shift).astype(z_BxTxF.dtype)
        if pool is not None and site in record:
            some = z_BxTxF if chosen is None else z_BxTxF[:, :, chosen[site]]
            self.recorded[site] = pool(some)
        return z_BxTxF

    def routed(self, sites: str, z_RxF: Array, routing: Routing) -> Array:
        """The same for outputs of experts, which are there at some tokens only.

        Args:
          sites: their name, with `{expert}` where the number stands.
          z_RxF: outputs, a row for each pair of token and expert.
          routing: which these are.
        """
        edit, pool, record, chosen, *_ = self._probe
        names = [sites.format(expert=e) for e in range(len(routing.sizes))]
        if edit is not None and names[0] in edit.scale:
            sentence_R = routing.token // routing.shape[1]

            def of_rows(part: Mapping[str, Array]) -> Array:
                values = jnp.stack([part[name] for name in names])
                if values.ndim == 2:
                    return values[routing.expert]
                choice = self._probe.choice
                which = sentence_R if choice is None else choice[sentence_R]
                return values[routing.expert, which]

            z_RxF = (of_rows(edit.scale) * z_RxF + of_rows(edit.shift)).astype(
                z_RxF.dtype
            )
        recorded = [e for e, name in enumerate(names) if name in record]
        if pool is not None and recorded:
            some = z_RxF
            if chosen is not None:
                none = jnp.zeros_like(chosen[names[recorded[0]]])
                chosen_ExK = jnp.stack([chosen.get(name, none) for name in names])
                some = jnp.take_along_axis(z_RxF, chosen_ExK[routing.expert], axis=1)
            pooled = _pooled_experts(pool, some, routing, recorded)
            self.recorded |= {names[e]: pooled[i] for i, e in enumerate(recorded)}
        return z_RxF

    def remember(self, k_BxTxGxK: Array, v_BxTxGxK: Array) -> tuple[Array, Array]:
        """The keys and values to attend to: these, and those of the cache."""
        if self.cache is None:
            slots = self._probe.slots
            if slots is None:
                return k_BxTxGxK, v_BxTxGxK
            room = ((0, 0), (0, slots - k_BxTxGxK.shape[1]), (0, 0), (0, 0))
            keys, values = jnp.pad(k_BxTxGxK, room), jnp.pad(v_BxTxGxK, room)
            self.cache = Cache(keys, values, jnp.int32(0))
            return keys, values
        keys, values, length = self.cache
        zero = jnp.zeros_like(length)  # all of one type, also where integers are wide
        start = (zero, length, zero, zero)
        keys = jax.lax.dynamic_update_slice(keys, k_BxTxGxK.astype(keys.dtype), start)
        values = jax.lax.dynamic_update_slice(
            values, v_BxTxGxK.astype(values.dtype), start
        )
        self.cache = Cache(keys, values, length)
        return keys, values


def _pooled_experts(
    pool: PoolFn, z_RxF: Array, routing: Routing, experts: Sequence[int]
) -> Array:
    """[len(experts), ..]: what the pool makes of each expert's outputs."""
    if hasattr(pool, "of_experts"):
        return pool.of_experts(z_RxF, routing, experts)

    def of_expert(row_BxT: Array) -> Array:
        z_BxTxF = z_RxF.at[row_BxT].get(mode="fill", fill_value=0)
        return pool(z_BxTxF, row_BxT < len(z_RxF))

    # One after the other, so that only one stands beside all tokens.
    return jax.lax.map(of_expert, routing.rows()[np.array(experts)])
