"""Loading a model with its tokenizer, and saving it in either form."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import nnx
from safetensors.numpy import save_file

from expertjax.checkpoints import orbax_store, rules
from expertjax.checkpoints.converted import CONVERTED, FORMAT, read_mark, restore
from expertjax.checkpoints.digest import params_digest
from expertjax.checkpoints.ends import end_tokens
from expertjax.checkpoints.find import checkpoint_name, find_checkpoint
from expertjax.checkpoints.formats import GENERATION, open_checkpoint
from expertjax.checkpoints.fused import FusedSource
from expertjax.checkpoints.json_file import write_json
from expertjax.checkpoints.tokenizer import load_tokenizer, save_tokenizer
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.models.edits import Edit
from expertjax.models.family import Family
from expertjax.models.forward import Forward, Precision, check_precision
from expertjax.models.readout import Readout
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
      generation: its `generation_config.json`; empty without one.
      ignored_config: name -> value of what that said and the user wanted passed over.
      precision: of its products of float32 matrices; see `models.forward`.
      dequantised: how the checkpoint's weights are quantised, e.g. "gptq (4 bits)"; ""
        where they are not. Here they are floats, and so are activations.
    """

    name: str
    path: Path
    family: Family
    config: Any
    graphdef: nnx.GraphDef
    params: nnx.State
    tokenizer: Any
    attributes: dict[str, Any]
    generation: dict[str, Any] = dataclasses.field(default_factory=dict)
    ignored_config: dict[str, Any] = dataclasses.field(default_factory=dict)
    precision: Precision = "float32"
    dequantised: str = ""

    @property
    def dtype(self) -> str:
        """Of the parameters and of the computation."""
        return str(jax.tree.leaves(self.params)[0].dtype)

    @property
    def read_with(self) -> str:
        """Of an encoder-decoder, whose units there are; "" of any other."""
        return getattr(self.config, "read_with", "")

    @property
    def forward(self) -> Forward:
        """Its module, to be bound to the parameters inside a jitted function."""
        return Forward(self.graphdef, self.precision)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites of one block."""
        return self.family.sites(self.config)

    @property
    def num_layers(self) -> int:
        """L."""
        return self.config.num_layers

    @property
    def readout(self) -> Readout | None:
        """How units reach the logits directly; None where they do not."""
        if self.family.readout is None or not self.config.lm_head:
            return None
        return self.family.readout(self.config)

    @functools.cached_property
    def ends(self) -> tuple[int, ...]:
        """The tokens after which a text ends, ascending.

        The tokenizer's own, and those that either config names: models that answer
        end by another token than texts do.

        Raises:
          InputError: a config names what is no token's number.
        """
        return end_tokens(
            self.path,
            self.tokenizer.eos_token_id,
            self.attributes.get("eos_token_id"),
            self.generation.get("eos_token_id"),
        )

    @functools.cached_property
    def weights_sha256(self) -> str:
        """The fingerprint of its parameters, see `digest`; taken once."""
        return params_digest(self.params)

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
    precision: Precision = "float32",
    ignore_config: Collection[str] = (),
    read_with: str = "",
    tell: Callable[[int, int], Any] | None = None,
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
      precision: of products of float32 matrices; see `models.forward.multiplying`.
      ignore_config: attributes of `config.json`, or names of a GGUF file's metadata,
        that are to be passed over at the user's own risk.
      read_with: of an encoder-decoder, whose units there are: "encoder", "decoder", or
        "" for what the config says, which is the encoder unless the model was loaded
        and converted otherwise.
      tell: hears how many parameters are there, and of how many.

    Raises:
      InputError: the checkpoint is not there, is damaged or is not understood.
    """
    check_precision(precision)
    checkpoint = open_checkpoint(find_checkpoint(model), ignore_config)
    path, attributes = checkpoint.path, checkpoint.attributes
    if read_with:
        attributes = attributes | {"read_with": read_with}
    config_name = str(checkpoint.config_path)
    put = put or (lambda path, array: jax.device_put(array))
    mark = read_mark(path)
    if mark is None:
        family_of(attributes, config_name)  # before any weights
        source = checkpoint.open_weights()
    keys = list(source.shapes) if mark is None else mark["keys"]
    family, config = read_config(attributes, keys, config_name)
    kept = checkpoint.attributes.get("read_with", "encoder")
    if mark is not None and getattr(config, "read_with", kept) != kept:
        raise InputError(
            f"--read_with={read_with}: {path} was converted with --read_with={kept}; "
            "convert the checkpoint again"
        )
    graphdef, abstract = abstract_module(family, config, dtype)
    if mark is None and family.fused:
        source = FusedSource(source, family)
    if mark is None and (differing := rules.untied(family, source, abstract)):
        _warn_of_untied(source.name, *differing[0])
        attributes = attributes | {"tie_word_embeddings": False}
        family, config = read_config(attributes, keys, config_name)
        graphdef, abstract = abstract_module(family, config, dtype)
    if tell is not None:
        put = _telling(put, tell, len(jax.tree.leaves(abstract)))
    if mark is None:
        params = rules.load_params(family, source, abstract, put, jnp.dtype(dtype))
    else:
        params = restore(path, mark, abstract, put, jnp.dtype(dtype))
    if isinstance(tokenizer, Path):
        tokenizer = load_tokenizer(tokenizer, attributes)
    elif tokenizer is None:
        tokenizer = checkpoint.load_tokenizer()
    name = name or checkpoint_name(model)
    ignored = (mark or {}).get("ignored_config", {}) | checkpoint.ignored_config
    return Model(
        name,
        path,
        family,
        config,
        graphdef,
        params,
        tokenizer,
        attributes,
        checkpoint.generation,
        ignored,
        precision,
        (mark or {}).get("dequantised", checkpoint.dequantised),
    )


def _telling(put: PutFn, tell: Callable[[int, int], Any], total: int) -> PutFn:
    count = itertools.count(1)

    def put_and_tell(path: str, array: np.ndarray) -> jax.Array:
        there = put(path, array)
        tell(next(count), total)
        return there

    return put_and_tell


def _warn_of_untied(name: str, key: str, twin: str) -> None:
    logging.warning(
        "%s: tensor %r differs from %r, to which the config ties it; both are kept, as "
        "transformers does. Units do not depend on it, what is generated does; "
        '"tie_word_embeddings": false in the config says the same without this line',
        name,
        key,
        twin,
    )


def read_architecture(
    model: str, ignore_config: Collection[str] = ()
) -> tuple[Family, Any, Callable[[], Any]]:
    """What a checkpoint is, without its weights.

    Args:
      model: as for `load_model`.
      ignore_config: likewise.

    Returns:
      its family, its config, and what loads its tokenizer.

    Raises:
      InputError: see `load_model`.
    """
    checkpoint = open_checkpoint(find_checkpoint(model), ignore_config)
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
    ours = ("dtype", "read_with")
    attributes = {k: v for k, v in model.attributes.items() if k not in ours}
    attributes["torch_dtype"] = np.dtype(dtype).name
    tensors = {
        key: np.asarray(value, dtype)
        for key, value in rules.export_params(model.family, model.params).items()
    }
    write_json(folder / "config.json", attributes)
    if model.generation:
        write_json(folder / GENERATION, model.generation)
    save_tokenizer(model.tokenizer, folder)
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
    if model.generation:
        write_json(folder / GENERATION, model.generation)
    save_tokenizer(model.tokenizer, folder)
    mark = {
        "format": FORMAT,
        "name": model.name,
        "keys": rules.export_keys(model.family, model.params),
        "weights_sha256": model.weights_sha256,
        "ignored_config": model.ignored_config,
        "dequantised": model.dequantised,
    }
    write_json(folder / CONVERTED, mark)
