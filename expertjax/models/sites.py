"""Sites (linear layers whose outputs are units) and the table of all units."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from expertjax.absent import ROUTED
from expertjax.errors import InputError
from expertjax.typing import Array

# A pattern for `UnitTable.build` that selects every point, linear or not.
EVERY_POINT = "(|:)"


@dataclasses.dataclass(frozen=True)
class Site:
    """A point of the block whose F values are units in every layer.

    Linear layers are sites by the name of their torch module. Other points are
    named with a colon and captured only when asked for: `X:input` is what goes
    into linear layer X (the heads' outputs, or the MLP's activations after
    nonlinearity and gating), `:residual` the residual stream after the block.

    Layers that share their weights are the same torch modules. What they say is
    not the same, so there the name has the layer too, behind an @:
    `albert.encoder.albert_layer_groups.0@3.albert_layers.0.ffn` is the module
    without `@3`, when it computes layer 3.

    The experts of a mixture are parts of one parameter. Their sites have its name with
    the expert's number: `mlp.experts.5.down_proj` is `mlp.experts.down_proj[5]`.
    """

    name: str  # within the block, e.g. "mlp.c_fc"
    features: int  # F
    module: str  # torch module, e.g. "transformer.h.{layer}.mlp.c_fc"
    share: tuple[int, ...] = ()  # [L] what stands for {group}, if it is there

    @property
    def is_linear(self) -> bool:
        """Is it a linear layer's output, and so a site by default?"""
        return ":" not in self.name

    @property
    def is_routed(self) -> bool:
        """Is it an expert's, with units only at tokens that are routed there?"""
        return ROUTED.search(self.name) is not None

    def module_name(self, layer: int) -> str:
        """The Hugging Face torch module of this site in one layer."""
        group = self.share[layer] if self.share else layer
        return self.module.format(layer=layer, group=group)


def sites_of(
    block: str, widths: Mapping[str, int], share: tuple[int, ...] = ()
) -> tuple[Site, ...]:
    """The sites of a block.

    Args:
      block: torch module of a block with a dot, e.g. "transformer.h.{layer}.".
      widths: site name -> F, in the order of computation.
      share: [L] the group of each layer, where layers share their weights and
        the block's name has `{group}`.
    """
    point = block.removesuffix(".")
    return tuple(
        Site(name, features, (point if name.startswith(":") else block) + name, share)
        for name, features in widths.items()
    )


@dataclasses.dataclass(frozen=True)
class UnitTable:
    """Which units are captured, and in which order.

    Units are numbered layer by layer, then site by site in the order of the
    block's computation, then by output coordinate.

    Attributes:
      segments: the selected (layer, site) pairs in unit order.
    """

    segments: tuple[tuple[int, Site], ...]

    @classmethod
    def build(
        cls, sites: Sequence[Site], num_layers: int, pattern: str = ""
    ) -> "UnitTable":
        """Selects the sites whose module name contains a match of `pattern`.

        Args:
          sites: the family's sites, in the order of computation.
          num_layers: L.
          pattern: regular expression on the torch module name; "" selects all
            linear layers. Points that are not linear layers are reached only by
            a pattern with a colon.

        Raises:
          InputError: the pattern is no regular expression or selects nothing.
        """
        try:
            regex = re.compile(pattern)
        except re.error as error:
            raise InputError(
                f"--sites={pattern!r} is not a regular expression: {error}"
            ) from error
        segments = tuple(
            (layer, site)
            for layer in range(num_layers)
            for site in sites
            if (site.is_linear or ":" in pattern)
            and regex.search(site.module_name(layer))
        )
        if not segments:
            names = ", ".join(site.module_name(0) for site in sites)
            raise InputError(
                f"--sites={pattern!r} selects no site; those of layer 0 are: {names}"
            )
        return cls(segments)

    def keep(self, units: np.ndarray) -> tuple["UnitTable", np.ndarray]:
        """The table of only those (layer, site) that hold some units.

        Args:
          units: [K] unit numbers of this table.

        Returns:
          the smaller table, and [K] where the units stand in it.
        """
        features = np.array([site.features for _, site in self.segments])
        starts = np.cumsum(features) - features
        segment_K = np.searchsorted(starts, units, side="right") - 1
        kept, which_K = np.unique(segment_K, return_inverse=True)
        there = np.cumsum(features[kept]) - features[kept]
        table = UnitTable(tuple(self.segments[segment] for segment in kept))
        return table, there[which_K] + units - starts[segment_K]

    def check(self, units: np.ndarray) -> None:
        """Refuses numbers that no unit has.

        Raises:
          InputError: names the first of them.
        """
        outside = units[(units < 0) | (units >= self.num_units)]
        if outside.size:
            raise InputError(
                f"unit {outside[0]} is not one of the {self.num_units} units, "
                "which are numbered from 0"
            )

    @functools.cached_property
    def num_units(self) -> int:
        """U."""
        return sum(site.features for _, site in self.segments)

    @functools.cached_property
    def recorded(self) -> tuple[Site, ...]:
        """The distinct sites that a forward pass has to pool."""
        return tuple(dict.fromkeys(site for _, site in self.segments))

    @functools.cached_property
    def layer(self) -> np.ndarray:
        """[U] int32: the layer of each unit."""
        return self._per_unit([layer for layer, _ in self.segments]).astype(np.int32)

    @functools.cached_property
    def site(self) -> np.ndarray:
        """[U] str: the site name of each unit."""
        return self._per_unit([site.name for _, site in self.segments])

    @functools.cached_property
    def module(self) -> np.ndarray:
        """[U] str: the torch module name of each unit."""
        return self._per_unit([s.module_name(layer) for layer, s in self.segments])

    @functools.cached_property
    def index(self) -> np.ndarray:
        """[U] int32: the output coordinate of each unit within its site."""
        return np.concatenate(
            [np.arange(site.features, dtype=np.int32) for _, site in self.segments]
        )

    @functools.cached_property
    def depth(self) -> int:
        """Layers that have to be run for all selected sites."""
        return max(layer for layer, _ in self.segments) + 1

    def gather(self, pooled: Mapping[str, Array]) -> Array:
        """Puts the scan's pooled sites in unit order.

        Args:
          pooled: site name -> [L, B, F], for every site in `recorded`, with L at
            least `depth`.

        Returns:
          [B, U]
        """
        stacked_LxBxF = jnp.concatenate([pooled[s.name] for s in self.recorded], -1)
        num_layers, batch, width = stacked_LxBxF.shape
        all_BxLF = jnp.moveaxis(stacked_LxBxF, 0, 1).reshape(batch, num_layers * width)
        if all_BxLF.shape[1] == self.num_units:
            return all_BxLF
        return all_BxLF[:, self._columns]

    @functools.cached_property
    def _columns(self) -> np.ndarray:
        """[U]: where each unit stands among all units of the recorded sites."""
        offsets, width = {}, 0
        for site in self.recorded:
            offsets[site] = width
            width += site.features
        return np.concatenate(
            [
                layer * width + offsets[site] + np.arange(site.features)
                for layer, site in self.segments
            ]
        )

    def _per_unit(self, values: list) -> np.ndarray:
        return np.repeat(np.array(values), [site.features for _, site in self.segments])


@dataclasses.dataclass(frozen=True)
class ChosenUnits:
    """Some units of a table, for a forward pass that pools these alone.

    Attributes:
      index: site name -> [L, K] int32 output coordinates, of each layer as many as
        the most that any layer and site has; where there are fewer, 0 fills up.
      place: of each unit the site's place in `index`, layer, and place among the K,
        [U] each.
    """

    index: Mapping[str, np.ndarray]
    place: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, table: UnitTable, units: np.ndarray) -> "ChosenUnits":
        """Arranges units by layer and site.

        Args:
          table: in which they are numbered; all of its sites are to be recorded.
          units: [U] numbers in any order, each once.
        """
        names = [site.name for site in table.recorded]
        site_U = np.array([names.index(name) for name in table.site[units]], int)
        layer_U = table.layer[units].astype(int)
        cell_U = site_U * table.depth + layer_U
        order = np.argsort(cell_U, kind="stable")
        count = np.bincount(cell_U, minlength=len(names) * table.depth)
        start = np.cumsum(count) - count
        slot_U = np.empty(len(units), int)
        slot_U[order] = np.arange(len(units)) - start[cell_U[order]]
        index = np.zeros((len(names), table.depth, count.max()), np.int32)
        index[site_U, layer_U, slot_U] = table.index[units]
        place = site_U, layer_U, slot_U
        return cls(dict(zip(names, index, strict=True)), place)

    def gather(self, pooled: Mapping[str, Array]) -> Array:
        """The units in the order in which they were given.

        Args:
          pooled: site name -> [L, B, K].

        Returns:
          [B, U]
        """
        stacked_SxLxBxK = jnp.stack([pooled[name] for name in self.index])
        site_U, layer_U, slot_U = self.place
        return stacked_SxLxBxK[site_U, layer_U, :, slot_U].T
