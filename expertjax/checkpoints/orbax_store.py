"""Our own checkpoints: an Orbax tree of parameters."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from expertjax.errors import InputError, join_problems


def save_params(path: Path, state: nnx.State) -> None:
    """Writes a state as an Orbax checkpoint; returns when it is on disk.

    Args:
      path: folder to be made; must not exist.
      state: arrays, possibly sharded over many hosts.
    """
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), nnx.to_pure_dict(state))


def restore_params(path: Path, abstract: nnx.State) -> nnx.State:
    """Reads a state back as host arrays, in the dtypes of the checkpoint.

    On the host, because the devices that wrote it need not be the devices that
    read it.

    Args:
      path: written by `save_params`.
      abstract: the module's state as shapes (`nnx.eval_shape`).

    Raises:
      InputError: the checkpoint is damaged or is of another model.
    """
    if not path.is_dir():
        raise InputError(f"{path}: is missing; convert the checkpoint again")
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            metadata = checkpointer.metadata(path.absolute()).item_metadata.tree
            _check_shapes(path, _shapes(nnx.to_pure_dict(abstract)), _shapes(metadata))
            wanted = jax.tree.map(lambda m: np.empty(m.shape, m.dtype), metadata)
            restored = checkpointer.restore(path.absolute(), wanted)
    except InputError:
        raise
    except (ValueError, LookupError, OSError, AttributeError) as error:
        raise InputError(
            f"{path}: cannot be restored as a checkpoint of this model: {error}"
        ) from error
    return jax.tree.map(
        lambda variable, value: variable.replace(value),
        abstract,
        nnx.State(restored),
        is_leaf=lambda node: isinstance(node, nnx.Variable),
    )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
        for path, leaf in leaves
    }


def _check_shapes(
    path: Path, wanted: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]]
) -> None:
    problems = [
        f"{name} has shape {given.get(name)}, expected {wanted.get(name)}"
        for name in sorted(wanted.keys() | given.keys())
        if given.get(name) != wanted.get(name)
    ]
    if problems:
        raise InputError(join_problems(f"{path}: is of another model:", problems))
