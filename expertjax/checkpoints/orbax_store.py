"""Our own checkpoints: an Orbax tree of parameters."""

import functools
import math
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from expertjax.errors import InputError, join_problems


def save_params(path: Path, state: nnx.State) -> None:
    """Writes a state as an Orbax checkpoint; returns when it is on disk.

    Args:
      path: folder to be made; must not exist.
      state: arrays, possibly sharded over many hosts.
    """
    import orbax.checkpoint as ocp  # half a second, which most runs do without

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.resolve(), nnx.to_pure_dict(state))


def read_params(
    path: Path, abstract: nnx.State
) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
    """Reads parameters back one by one, as host arrays in the checkpoint's dtypes.

    On the host, because the devices that wrote it need not be the devices that
    read it; one by one, because Orbax would hold several of each at a time.

    Args:
      path: written by `save_params`.
      abstract: the module's state as shapes (`nnx.eval_shape`).

    Yields:
      a parameter's path in the state, and its value; the largest first.

    Raises:
      InputError: the checkpoint is damaged or is of another model.
    """
    if not path.is_dir():
        raise InputError(f"{path}: is missing; convert the checkpoint again")
    import orbax.checkpoint as ocp  # as above

    try:
        path = path.resolve()
        with ocp.PyTreeCheckpointer() as checkpointer:
            metadata = checkpointer.metadata(path).item_metadata.tree
            _check_shapes(path, _shapes(nnx.to_pure_dict(abstract)), _shapes(metadata))
            # The largest while there is room: what is read stands beside its copy.
            largest_first = sorted(
                abstract.flat_state(), key=lambda item: -math.prod(item[1].shape)
            )
            for where, _ in largest_first:
                of_one = _lookup(metadata, where)
                wanted = _nest(where, np.empty(of_one.shape, of_one.dtype))
                only = ocp.args.PyTreeRestore(
                    item=wanted,
                    restore_args=_nest(where, ocp.RestoreArgs(restore_type=np.ndarray)),
                    partial_restore=True,
                )
                # Not kept here while the next one is read.
                yield where, _lookup(checkpointer.restore(path, args=only), where)
    except InputError:
        raise
    except (ValueError, LookupError, OSError, AttributeError) as error:
        raise InputError(
            f"{path}: cannot be restored as a checkpoint of this model: {error}"
        ) from error


def _lookup(tree: Any, path: tuple[Any, ...]) -> Any:
    return functools.reduce(operator.getitem, path, tree)


def _nest(path: tuple[Any, ...], leaf: Any) -> Any:
    """A tree with a single leaf."""
    for name in reversed(path):
        leaf = {name: leaf}
    return leaf


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
