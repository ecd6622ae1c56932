"""Loading a model with its tokenizer, and saving it in either form."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from expertjax.checkpoints import orbax_store, rules
from expertjax.checkpoints.readers import open_weights
from expertjax.checkpoints.tokenizer import load_tokenizer
from expertjax.errors import InputError
from expertjax.models.edits import Edit
from expertjax.models.family import Family
from expertjax.models.registry import family_of, read_config
from expertjax.models.sites import Site

CONVERTED = "expertjax.json"  # marks a folder written by `save_converted`
FORMAT = 1  # of such folders
PutFn = Callable[[str, np.ndarray], jax.Array]


@dataclasses.dataclass(frozen=True)
class Model:
    """A checkpoint in memory.

    Attributes:
      name: of the folder it came from, unless the user chose another.
      path: that folder.
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


def load_model(
    model: str,
    *,
    name: str | None = None,
    dtype: Any = jnp.float32,
    put: PutFn | None = None,
) -> Model:
    """Loads a checkpoint.

    Args:
      model: a Hugging Face folder, a folder made by `convert_checkpoint`, or a
        hub id.
      name: defaults to the folder's name.
      dtype: of the parameters and of the computation.
      put: moves a parameter, given its path, to the device(s).

    Raises:
      InputError: the checkpoint is not there, is damaged or is not understood.
    """
    folder = find_folder(model)
    source_name = str(folder / "config.json")
    attributes = _read_json(folder / "config.json")
    if name is None:
        # A hub snapshot's folder is named by its commit.
        name = (folder if Path(model).is_dir() else Path(model)).resolve().name
    put = put or (lambda path, array: jnp.asarray(array, dtype))
    mark = _read_mark(folder)
    if mark is None:
        family_of(attributes, source_name)  # before any weights
        source = open_weights(folder)
    keys = list(source.shapes) if mark is None else mark["keys"]
    family, config = read_config(attributes, keys, source_name)
    graphdef, abstract = abstract_module(family, config, dtype)
    if mark is None:
        params = rules.load_params(family, source, abstract, put)
    else:
        params = _restore(folder, mark, abstract, put)
    tokenizer = load_tokenizer(folder, attributes)
    return Model(name, folder, family, config, graphdef, params, tokenizer, attributes)


def params_digest(params: nnx.State) -> str:
    """SHA-256 over names, shapes and a position-weighted checksum of the bits.

    Integer arithmetic that wraps is exact in any order, so the digest is the
    same however the parameters are sharded, and no weight leaves its device.
    """
    digest = hashlib.sha256()
    for path, variable in params.flat_state():
        value = variable[...]
        line = f"{path} {value.shape} {value.dtype} {int(_checksum(value))}\n"
        digest.update(line.encode())
    return digest.hexdigest()


@jax.jit
def _checksum(value: jax.Array) -> jax.Array:
    """Sum of bits x odd weights, modulo 2^32."""
    width = jnp.dtype(value.dtype).itemsize * 8
    bits = jax.lax.bitcast_convert_type(value, f"uint{width}").astype(jnp.uint32)
    weights = jnp.zeros(value.shape, jnp.uint32)
    for axis in range(value.ndim):
        index = jax.lax.broadcasted_iota(jnp.uint32, value.shape, axis)
        weights = weights * jnp.uint32(0x9E3779B1) + index
    return jnp.sum(bits * (2 * weights + 1), dtype=jnp.uint32)


def abstract_module(
    family: Family, config: Any, dtype: Any
) -> tuple[nnx.GraphDef, nnx.State]:
    """The module's static half and its state as shapes; nothing is allocated."""
    build = functools.partial(family.build, config, dtype=dtype)
    return nnx.split(nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0))))


def find_folder(model: str) -> Path:
    """The local folder of a checkpoint, downloading a hub id if need be.

    Raises:
      InputError: neither a folder nor a hub id that can be had.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder}: no config.json; expected a Hugging Face folder "
                "or one made by convert_checkpoint"
            )
        return folder
    if folder.is_file():
        raise InputError(f"--model={model}: is a file; give the folder it lies in")
    if model.count("/") > 1 or model.startswith((".", "/", "~")):
        raise InputError(f"--model={model}: no such folder")
    # Imported here: a local folder must not cost a second of imports.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(model, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise InputError(
            f"--model={model}: neither a local folder nor a model that the hub or "
            f"its local cache can give ({type(error).__name__}); check the "
            "spelling and the network"
        ) from error


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
    _write_json(folder / "config.json", attributes)
    model.tokenizer.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


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
    _write_json(folder / "config.json", model.attributes)
    model.tokenizer.save_pretrained(folder)
    mark = {
        "format": FORMAT,
        "name": model.name,
        "keys": rules.export_keys(model.family, model.params),
        "weights_sha256": params_digest(model.params),
    }
    _write_json(folder / CONVERTED, mark)


def _read_mark(folder: Path) -> dict[str, Any] | None:
    """What `save_converted` wrote last; None in a Hugging Face folder."""
    if not (folder / CONVERTED).is_file():
        return None
    mark = _read_json(folder / CONVERTED)
    if mark.get("format") != FORMAT or not {"keys", "weights_sha256"} <= mark.keys():
        raise InputError(
            f"{folder / CONVERTED}: format {mark.get('format')!r} is not read here, "
            f"only {FORMAT}; convert the checkpoint again"
        )
    return mark


def _restore(
    folder: Path, mark: dict[str, Any], abstract: nnx.State, put: PutFn
) -> nnx.State:
    """The parameters of a converted folder, as `put` returns them."""
    params = orbax_store.restore_params(folder / "params", abstract)
    if params_digest(params) != mark["weights_sha256"]:
        raise InputError(
            f"{folder / 'params'}: the weights are not those that were written; "
            "convert the checkpoint again"
        )
    moved = [
        (path, variable.replace(put(".".join(map(str, path)), variable[...])))
        for path, variable in params.flat_state()
    ]
    return nnx.State.from_flat_path(moved)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")
