"""Our own checkpoints: an Orbax tree of parameters."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp
from flax import nnx

from expertjax.errors import InputError


def save_params(path: Path, state: nnx.State) -> None:
    """Writes a state as an Orbax checkpoint; returns when it is on disk.

    Args:
      path: folder to be made; must not exist.
      state: arrays, possibly sharded over many hosts.
    """
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), nnx.to_pure_dict(state))


def restore_params(
    path: Path, abstract: nnx.State, sharding: jax.sharding.Sharding | None = None
) -> nnx.State:
    """Reads a state back, straight into the given sharding.

    Args:
      path: written by `save_params`.
      abstract: the module's state as shapes (`nnx.eval_shape`).
      sharding: where the arrays are to live.

    Raises:
      InputError: the checkpoint is damaged or is of another model.
    """
    pure = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        nnx.to_pure_dict(abstract),
    )
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            restored = checkpointer.restore(path.absolute(), pure)
    except (ValueError, KeyError, FileNotFoundError, OSError) as error:
        raise InputError(
            f"{path}: cannot be restored as a checkpoint of this model: {error}"
        ) from error
    nnx.replace_by_pure_dict(abstract, restored)
    return abstract
