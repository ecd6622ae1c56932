"""Experts' weights as checkpoints have them: one by one, or all in one tensor."""

import shutil
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from expertjax.checkpoints.load import (
    Model,
    load_model,
    params_digest,
    save_converted,
    save_huggingface,
)
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from expertjax.models.forward import Forward
from expertjax.runtime.mesh import make_mesh
from expertjax.runtime.sharding import put_parameter
from tests import bounds
from tests.models.parity import CASES
from tests.torch_reference import load_torch

NAMES = ("mixtral", "mixtral-headless-all-active", "qwen2_moe", "olmoe", "granitemoe")
TOKENS = np.arange(1, 13).reshape(2, 6)


def make(name: str, folder: Path) -> Path:
    pytest.importorskip("torch")
    write, attributes = CASES[name]
    return write(folder, **attributes)


@pytest.fixture(params=NAMES)
def folder(request: Any, tmp_path: Path) -> Path:
    return make(request.param, tmp_path / "one")


def keys(folder: Path) -> list[str]:
    return sorted(load_file(folder / "model.safetensors"))


def test_all_layouts_are_the_same_model(folder: Path, tmp_path: Path) -> None:
    architecture = load_model(str(folder)).attributes["architectures"][0]
    other = tmp_path / "fused"
    shutil.copytree(folder, other)
    load_torch(folder, architecture).save_pretrained(other, save_original_format=False)
    assert keys(folder) != keys(other)
    assert any("experts.gate_up_proj" in key for key in keys(other))
    one, fused = (load_model(str(path)) for path in (folder, other))
    assert params_digest(one.params) == params_digest(fused.params)


def test_what_is_saved_loads_in_transformers_and_here(
    folder: Path, tmp_path: Path
) -> None:
    model = load_model(str(folder))
    save_huggingface(model, tmp_path / "hf")
    architecture = model.attributes["architectures"][0]
    wanted = [load_torch(path, architecture) for path in (folder, tmp_path / "hf")]
    for (name, ours), (_, theirs) in zip(
        *(m.state_dict().items() for m in wanted), strict=True
    ):
        assert (ours == theirs).all(), name
    save_converted(model, tmp_path / "converted")
    for saved in ("hf", "converted"):
        again = load_model(str(tmp_path / saved))
        assert params_digest(again.params) == params_digest(model.params)


def problems(folder: Path, tensors: dict[str, np.ndarray]) -> str:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError) as error:
        load_model(str(folder))
    return str(error.value)


def test_what_is_missing_or_does_not_belong_is_named(tmp_path: Path) -> None:
    folder = make("mixtral", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    experts = "model.layers.1.block_sparse_moe.experts."
    whole = "'model.layers.1.mlp.experts."

    without = tensors.copy()
    del without[f"{experts}1.w3.weight"]
    said = problems(folder, without)
    assert f"of {whole}gate_up_proj', expert 1 has 1 of 2 tensors" in said

    without = {key: v for key, v in tensors.items() if f"{experts}2." not in key}
    said = problems(folder, without)
    assert f"of {whole}down_proj', expert 2 has 0 of 1 tensors" in said

    last = {key: v for key, v in tensors.items() if f"{experts}3." not in key}
    said = problems(folder, last)
    assert "has shape (3, 48, 32), expected (4, 48, 32)" in said

    narrow = tensors | {f"{experts}2.w2.weight": np.zeros((32, 23), np.float32)}
    said = problems(folder, narrow)
    assert f"{experts}2.w2.weight' is ((32, 23), 'float32')" in said

    fused = np.zeros((4, 32, 24), np.float32)
    said = problems(folder, tensors | {"model.layers.1.mlp.experts.down_proj": fused})
    assert f"{whole}down_proj' and '{experts}0.w2.weight' are the same" in said


def logits(model: Model) -> np.ndarray:
    module = Forward(model.graphdef).bind(model.params)
    out = module(Inputs.of(TOKENS, np.ones_like(TOKENS)))
    return np.asarray(module.logits(out.hidden))


def test_each_device_holds_its_own_experts(tmp_path: Path) -> None:
    folder = make("mixtral", tmp_path / "model")
    mesh = make_mesh("data:2,model:4")
    split = load_model(str(folder), put=put_parameter(mesh))
    for name in ("gate_up_proj", "down_proj"):
        kernel = split.params["blocks"]["mlp"]["experts"][name]["kernel"][...]
        assert kernel.sharding.shard_shape(kernel.shape) == (3, 1, *kernel.shape[2:])
    bounds.assert_outputs(
        logits(split), logits(load_model(str(folder))), bounds.of_model(split)
    )


def test_bfloat16_is_read_as_it_is(tmp_path: Path) -> None:
    folder = make("olmoe", tmp_path / "model")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    rough = {key: np.asarray(v, jnp.bfloat16) for key, v in tensors.items()}
    save_file(rough, path, metadata={"format": "pt"})
    model = load_model(str(folder), dtype=jnp.bfloat16)
    kernel = model.params["blocks"]["mlp"]["experts"]["down_proj"]["kernel"][...]
    wanted = rough["model.layers.2.mlp.experts.5.down_proj.weight"].T
    assert kernel.dtype == jnp.bfloat16
    assert (np.asarray(kernel[2, 5]) == wanted).all()
