"""Loading a model with its tokenizer, and saving it in either form."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from expertjax.checkpoints import orbax_store, rules
from expertjax.checkpoints.converted import CONVERTED, FORMAT, read_mark, restore
from expertjax.checkpoints.digest import params_digest
from expertjax.checkpoints.find import checkpoint_name, find_checkpoint
from expertjax.checkpoints.formats import open_checkpoint
from expertjax.checkpoints.json_file import write_json
from expertjax.checkpoints.tokenizer import load_tokenizer
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.models.edits import Edit
from expertjax.models.family import Family
from expertjax.models.registry import family_of, read_config
from expertjax.models.sites import Site

PutFn = Callable[[str, np.ndarray], jax.Array]


@dataclasses.dataclass(frozen=True)
class Model:
    """A checkpoint in memory.

    Attributes:
      name: of the folder it came from, unless the user chose another.
      path: that folder, or a GGUF file.
      family: what the registry says of its kind.
      config: frozen architecture.
      graphdef: static half of the module (`nnx.split`).
      params: its parameters.
      tokenizer: the Hugging Face fast tokenizer.
      attributes: its `config.json`.
    """

    name: str
    path: Path
    family: Family
    config: Any
    graphdef: nnx.GraphDef
    params: nnx.State
    tokenizer: Any
    attributes: dict[str, Any]

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites of one block."""
        return self.family.sites(self.config)

    @property
    def num_layers(self) -> int:
        """L."""
        return self.config.num_layers

    @functools.cached_property
    def identity_edit(self) -> Edit:
        """The edit that changes nothing."""
        return Edit.identity(self.sites, self.num_layers)


@jax_settings()
def load_model(
    model: str,
    *,
    name: str | None = None,
    dtype: Any = jnp.float32,
    put: PutFn | None = None,
    tokenizer: Any = None,
) -> Model:
    """Loads a checkpoint.

    Weights are read one parameter at a time and leave the host before the next.

    Args:
      model: a Hugging Face folder, a folder made by `convert_checkpoint`, a `.gguf`
        file, or a hub id, which may end in "@revision".
      name: defaults to the folder's name.
      dtype: of the parameters and of the computation.
      put: moves a parameter, given its path and a host array, to the device(s).
      tokenizer: to be used in place of the checkpoint's own, or the folder to load
        it from.

    Raises:
      InputError: the checkpoint is not there, is damaged or is not understood.
    """
    checkpoint = open_checkpoint(find_checkpoint(model))
    path, attributes = checkpoint.path, checkpoint.attributes
    config_name = str(checkpoint.config_path)
    put = put or (lambda path, array: jax.device_put(array))
    mark = read_mark(path)
    if mark is None:
        family_of(attributes, config_name)  # before any weights
        source = checkpoint.open_weights()
    keys = list(source.shapes) if mark is None else mark["keys"]
    family, config = read_config(attributes, keys, config_name)
    graphdef, abstract = abstract_module(family, config, dtype)
    if mark is None:
        params = rules.load_params(family, source, abstract, put, jnp.dtype(dtype))
    else:
        params = restore(path, mark, abstract, put, jnp.dtype(dtype))
    if isinstance(tokenizer, Path):
        tokenizer = load_tokenizer(tokenizer, attributes)
    elif tokenizer is None:
        tokenizer = checkpoint.load_tokenizer()
    name = name or checkpoint_name(model)
    return Model(name, path, family, config, graphdef, params, tokenizer, attributes)


def read_architecture(model: str) -> tuple[Family, Any, Callable[[], Any]]:
    """What a checkpoint is, without its weights.

    Args:
      model: as for `load_model`.

    Returns:
      its family, its config, and what loads its tokenizer.

    Raises:
      InputError: see `load_model`.
    """
    checkpoint = open_checkpoint(find_checkpoint(model))
    config_name = str(checkpoint.config_path)
    family_of(checkpoint.attributes, config_name)
    mark = read_mark(checkpoint.path)
    keys = list(checkpoint.open_weights().shapes) if mark is None else mark["keys"]
    family, config = read_config(checkpoint.attributes, keys, config_name)
    return family, config, checkpoint.load_tokenizer


def abstract_module(
    family: Family, config: Any, dtype: Any
) -> tuple[nnx.GraphDef, nnx.State]:
    """The module's static half and its state as shapes; nothing is allocated."""
    build = functools.partial(family.build, config, dtype=dtype)
    return nnx.split(nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0))))


@jax_settings()
def save_huggingface(model: Model, folder: Path, dtype: Any = np.float32) -> None:
    """Writes an ordinary Hugging Face folder: config, safetensors, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    # Else transformers would cast to the dtype of the checkpoint we came from.
    attributes = {k: v for k, v in model.attributes.items() if k != "dtype"}
    attributes["torch_dtype"] = np.dtype(dtype).name
    tensors = {
        key: np.asarray(value, dtype)
        for key, value in rules.export_params(model.family, model.params).items()
    }
    write_json(folder / "config.json", attributes)
    model.tokenizer.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@jax_settings()
def save_converted(model: Model, folder: Path) -> None:
    """Writes config, tokenizer and an Orbax checkpoint of the parameters.

    The mark that makes it loadable is written last.

    Raises:
      InputError: the folder exists and is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"--out={folder}: exists and is not empty; choose another")
    folder.mkdir(parents=True, exist_ok=True)
    orbax_store.save_params(folder / "params", model.params)
    write_json(folder / "config.json", model.attributes)
    model.tokenizer.save_pretrained(folder)
    mark = {
        "format": FORMAT,
        "name": model.name,
        "keys": rules.export_keys(model.family, model.params),
        "weights_sha256": params_digest(model.params),
    }
    write_json(folder / CONVERTED, mark)
