"""Quantised checkpoints, written as the libraries write them."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import Model, load_model
from expertjax.checkpoints.quantised.schemes import dequantised, take_scheme
from expertjax.checkpoints.quantised.weights import DequantisedSource
from expertjax.checkpoints.readers import open_weights
from expertjax.models.attention import Inputs
from tests import bounds
from tests.tiny_models import make_tiny

LLAMA: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
}
TOKENS = np.random.default_rng(0).integers(0, 300, (2, 12))
Pack = Callable[[str, Any], Mapping[str, Any]]


def source_of(
    folder: Path, settings: Mapping[str, Any], tensors: Mapping[str, Any], **config: Any
) -> DequantisedSource:
    """Torch tensors, written and opened as a checkpoint with these settings."""
    pytest.importorskip("torch")
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    kept = {key: value.contiguous() for key, value in tensors.items()}
    save_file(kept, folder / "model.safetensors")
    attributes = config | {"quantization_config": dict(settings)}
    left, scheme = take_scheme(attributes, folder / "config.json")
    assert left == config
    assert scheme is not None
    return dequantised(open_weights(folder), scheme, config)


def read_weight(
    folder: Path, settings: Mapping[str, Any], parts: Mapping[str, Any], **config: Any
) -> np.ndarray:
    """The weight of one module, whose parts are given by their endings."""
    tensors = {f"m{part}": value for part, value in parts.items()}
    source = source_of(folder, settings, tensors, **config)
    assert list(source.shapes) == ["m.weight"]
    assert source.dtypes["m.weight"] == "float32"
    value = source.read("m.weight")
    assert value.dtype == np.float32
    assert source.shapes["m.weight"] == value.shape
    return value


def quantise_folder(
    folder: Path,
    settings: Mapping[str, Any],
    pack: Pack,
    *,
    ends: tuple[str, ...] = ("_proj.weight",),
    suffix: str = "safetensors",
) -> Path:
    """Quantises a folder where it lies.

    Args:
      folder: a Hugging Face folder.
      settings: for `quantization_config`.
      pack: (name of a module, its weight) -> parts by their endings.
      ends: which weights.
      suffix: of the file: "safetensors" or "bin".
    """
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    tensors = {}
    for key, value in load_file(folder / "model.safetensors").items():
        if key.endswith(ends):
            module = key.removesuffix(".weight")
            parts = pack(module, value)
            tensors |= {f"{module}{p}": v.contiguous() for p, v in parts.items()}
        else:
            tensors[key] = value
    (folder / "model.safetensors").unlink()
    if suffix == "bin":
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = dict(settings)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def assert_is_model_of(
    tmp_path: Path,
    settings: Mapping[str, Any],
    pack: Pack,
    unpack: Callable[[str, Mapping[str, Any]], Any],
    **options: Any,
) -> Model:
    """A tiny Llama, quantised, has the logits of torch with the library's weights.

    Args:
      tmp_path: for folders.
      settings: for `quantization_config`.
      pack: as for `quantise_folder`.
      unpack: (name of a module, parts) -> the library's dequantised weight.
      **options: of `quantise_folder`.

    Returns:
      the quantised model.
    """
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    plain = make_tiny(tmp_path / "plain", "LlamaForCausalLM", **LLAMA)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(plain).eval()
    exact = theirs(torch.tensor(TOKENS)).logits.detach().numpy()

    def keep(module: str, weight: Any) -> Mapping[str, Any]:
        parts = pack(module, weight)
        with torch.no_grad():
            value = unpack(module, parts)
            theirs.get_submodule(module).weight.copy_(value)
        return parts

    folder = shutil.copytree(plain, tmp_path / "quantised")
    model = load_model(str(quantise_folder(folder, settings, keep, **options)))
    with torch.no_grad():
        wanted = theirs(torch.tensor(TOKENS)).logits.numpy()
    assert np.abs(wanted - exact).max() > 1e-3  # something was lost
    bounds.assert_outputs(logits_of(model), wanted, bounds.of_model(model))
    return model


def assert_is_that_of_transformers(folder: Path, theirs: Any) -> None:
    """A folder gives the logits of transformers' own model of it."""
    torch = pytest.importorskip("torch")
    model = load_model(str(folder))
    with torch.no_grad():
        wanted = theirs.eval()(torch.tensor(TOKENS)).logits.float().numpy()
    bounds.assert_outputs(logits_of(model), wanted, bounds.of_model(model))


def logits_of(model: Model) -> np.ndarray:
    """Of `TOKENS`."""
    module = nnx.merge(model.graphdef, model.params)
    out = module(Inputs.of(TOKENS, np.ones_like(TOKENS)))
    return np.asarray(module.logits(out.hidden))
