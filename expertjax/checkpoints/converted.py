"""Folders that `convert_checkpoint` made: their mark, and their parameters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from expertjax.checkpoints import orbax_store
from expertjax.checkpoints.digest import digest_line, join_lines
from expertjax.checkpoints.json_file import read_json
from expertjax.errors import InputError

CONVERTED = "expertjax.json"  # the mark, which is written last
FORMAT = 1


def read_mark(folder: Path) -> dict[str, Any] | None:
    """What the mark says; None in a Hugging Face folder.

    Raises:
      InputError: of another format.
    """
    if not (folder / CONVERTED).is_file():
        return None
    mark = read_json(folder / CONVERTED)
    if mark.get("format") != FORMAT or not {"keys", "weights_sha256"} <= mark.keys():
        raise InputError(
            f"{folder / CONVERTED}: format {mark.get('format')!r} is not read here, "
            f"only {FORMAT}; convert the checkpoint again"
        )
    return mark


def restore(
    folder: Path,
    mark: dict[str, Any],
    abstract: nnx.State,
    put: Callable[[str, np.ndarray], jax.Array],
    dtype: Any,
) -> nnx.State:
    """The parameters, where `put` puts them.

    Args:
      folder: the converted one.
      mark: from `read_mark`.
      abstract: the module's state as shapes.
      put: moves a parameter, given its path, to the device(s).
      dtype: that they are to have; the folder's may be another.

    Raises:
      InputError: the weights are missing, damaged or of another model.
    """
    variables = dict(abstract.flat_state())
    moved, lines = {}, {}
    for path, array in orbax_store.read_params(folder / "params", abstract):
        # Each leaves the host before the next one is read.
        value = jax.block_until_ready(put(".".join(map(str, path)), array))
        del array
        lines[path] = digest_line(path, value)
        moved[path] = variables[path].replace(value.astype(dtype))
    if join_lines(lines[path] for path in variables) != mark["weights_sha256"]:
        raise InputError(
            f"{folder / 'params'}: the weights are not those that were written; "
            "convert the checkpoint again"
        )
    return nnx.State.from_flat_path([(path, moved[path]) for path in variables])
