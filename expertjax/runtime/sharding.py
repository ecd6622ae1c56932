"""How parameters are split over the `model` axis.

Rules on the parameters' paths, outside the models. Attention and MLP are split as in
Megatron (Shoeybi et al. 2019, section 3): what leads out of the residual stream by its
outputs, what leads back by its inputs, so that one sum over devices ends either. A rule
decides about speed and memory only; results are the same wherever parameters live.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_BACK = (
    r"(?:^|\.)blocks\..*(c_proj|o_proj|out_proj|down_proj|\.down|out_lin|lin2|fc2"
    r"|4h_to_h|attention_dense|output_dense|\.dense)\.kernel$"
)
# Pattern on the path -> axes, the first that the devices divide is split. Never the
# layers' axis, which the scan goes along. The first pattern that matches counts.
RULES: tuple[tuple[str, tuple[int, ...]], ...] = (
    (r"experts\..*kernel$", (-3, -1, -2)),  # [L, E, in, out]: whole experts
    (_BACK, (-2, -1)),  # [L, in, out]
    (r"kernel$", (-1, -2)),
    (r"embedding$", (-2, -1)),  # [V, D]
)


def parameter_sharding(mesh: Mesh, path: str, shape: tuple[int, ...]) -> NamedSharding:
    """Where one parameter lives.

    Args:
      mesh: its `model` axis splits the parameter; `data` repeats it.
      path: dotted, e.g. "blocks.c_fc.kernel".
      shape: of the whole parameter.

    Returns:
      split along one axis; whole on every device where no rule names the path or
      none of its axes can be divided.
    """
    size = mesh.shape["model"]
    axes = next((axes for pattern, axes in RULES if re.search(pattern, path)), ())
    for axis in axes:
        if len(shape) >= -axis and shape[axis] % size == 0:
            spec: list[str | None] = [None] * len(shape)
            spec[axis] = "model"
            return NamedSharding(mesh, PartitionSpec(*spec))
    return NamedSharding(mesh, PartitionSpec())


def put_parameter(mesh: Mesh) -> Callable[[str, np.ndarray], jax.Array]:
    """`load_model`'s `put`: each device gets no more than its share."""

    def put(path: str, array: np.ndarray) -> jax.Array:
        sharding = parameter_sharding(mesh, path, array.shape)
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    return put


def parameter_shardings(mesh: Mesh, params: Any) -> Any:
    """The tree of all parameters' shardings."""

    def of(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        # Flax puts the variable's own field at the end.
        return parameter_sharding(mesh, name.removesuffix(".value"), leaf.shape)

    return jax.tree_util.tree_map_with_path(of, params)


def place_parameters(mesh: Mesh, params: Any) -> Any:
    """Parameters where the rules want them; those that are there stay."""
    return jax.device_put(params, parameter_shardings(mesh, params))
