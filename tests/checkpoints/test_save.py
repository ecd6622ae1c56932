"""Round trips: converted folders to the bit, Hugging Face folders in torch."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from expertjax.checkpoints.load import (
    CONVERTED,
    Model,
    load_model,
    params_digest,
    save_converted,
    save_huggingface,
)
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from tests import bounds
from tests.tiny_models import SENTENCES, make_tiny_bert, make_tiny_gpt2
from tests.torch_reference import load_torch

TOKENS = np.arange(1, 13).reshape(2, 6)
MASK = np.ones_like(TOKENS)

CASES = {
    "gpt2": (make_tiny_gpt2, {}),
    "gpt2-untied": (make_tiny_gpt2, {"tie_word_embeddings": False}),
    "gpt2-headless": (make_tiny_gpt2, {"architecture": "GPT2Model"}),
    "bert": (make_tiny_bert, {}),
    "bert-untied": (make_tiny_bert, {"tie_word_embeddings": False}),
    "bert-headless": (make_tiny_bert, {"architecture": "BertModel"}),
}


@pytest.fixture(scope="module", params=CASES)
def model(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Model:
    make, overrides = CASES[request.param]
    return load_model(str(make(tmp_path_factory.mktemp("save") / "m", **overrides)))


@pytest.fixture
def converted(tiny_gpt2: Model, tmp_path: Path) -> Path:
    save_converted(tiny_gpt2, tmp_path / "converted")
    return tmp_path / "converted"


def largest_file(folder: Path) -> Path:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def test_a_converted_folder_is_the_same_to_the_bit(model: Model, tmp_path) -> None:
    save_converted(model, tmp_path / "new" / "converted")
    told: list[tuple[int, int]] = []
    place = str(tmp_path / "new" / "converted")
    again = load_model(place, tell=lambda *count: told.append(count))
    count = len(again.params.flat_state())
    assert told == [(i + 1, count) for i in range(count)]
    assert again.name == "converted"
    assert (again.family, again.config) == (model.family, model.config)
    assert again.attributes == model.attributes
    assert params_digest(again.params) == params_digest(model.params)
    ours = again.tokenizer(SENTENCES)["input_ids"]
    assert ours == model.tokenizer(SENTENCES)["input_ids"]
    module = nnx.merge(again.graphdef, again.params)
    assert module(Inputs.of(TOKENS, MASK)).hidden.shape == (2, 6, 32)


def test_a_huggingface_folder_gives_the_same_logits_in_torch(
    model: Model, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    save_huggingface(model, tmp_path)
    assert params_digest(load_model(str(tmp_path)).params) == params_digest(
        model.params
    )
    theirs = load_torch(tmp_path, model.attributes["architectures"][0], dtype="auto")
    with torch.no_grad():
        out = theirs(input_ids=torch.tensor(TOKENS))
    module = nnx.merge(model.graphdef, model.params)
    ours = module(Inputs.of(TOKENS, MASK)).hidden
    if "logits" in out:
        ours, out = module.logits(ours), out.logits.numpy()
    else:
        out = out.last_hidden_state.numpy()
    bounds.assert_outputs(ours, out, bounds.of_model(model))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_huggingface_folder_says_its_dtype(
    dtype: Any, tiny_gpt2: Model, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    save_huggingface(tiny_gpt2, tmp_path, dtype)
    theirs = load_torch(tmp_path, "GPT2LMHeadModel", dtype="auto")
    assert theirs.dtype == getattr(torch, np.dtype(dtype).name)
    ours = np.asarray(load_model(str(tmp_path)).params["wte"]["embedding"][...])
    expected = np.asarray(tiny_gpt2.params["wte"]["embedding"][...]).astype(dtype)
    np.testing.assert_array_equal(ours, expected.astype(np.float32))


def test_a_converted_folder_may_lie_upwards(tiny_gpt2: Model, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    there = tmp_path / "below" / ".." / "converted"
    save_converted(tiny_gpt2, there)
    back = load_model(str(there), name="back")
    assert params_digest(back.params) == params_digest(tiny_gpt2.params)


def test_a_converted_folder_comes_back_on_other_devices(
    tiny_gpt2: Model, tmp_path: Path
) -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = NamedSharding(mesh, PartitionSpec("data"))

    def put(path: str, value: np.ndarray) -> jax.Array:
        whole = value.ndim != 2 or value.shape[0] % 8
        spec = NamedSharding(mesh, PartitionSpec()) if whole else spread
        return jax.device_put(value, spec)

    model = load_model(str(tiny_gpt2.path), put=put)
    assert params_digest(model.params) == params_digest(tiny_gpt2.params)
    save_converted(model, tmp_path / "c")
    single = load_model(str(tmp_path / "c"))
    assert params_digest(single.params) == params_digest(tiny_gpt2.params)
    assert len(single.params["wpe"]["embedding"][...].devices()) == 1
    again = load_model(str(tmp_path / "c"), put=put)
    assert again.params["wpe"]["embedding"][...].sharding == spread


def test_a_converted_folder_is_cast_on_loading(converted: Path) -> None:
    model = load_model(str(converted), dtype=jnp.bfloat16)
    leaves = [variable[...] for _, variable in model.params.flat_state()]
    assert all(leaf.dtype == jnp.bfloat16 for leaf in leaves)


def test_a_folder_that_is_not_empty_is_kept(tiny_gpt2: Model, converted: Path) -> None:
    before = sorted(converted.rglob("*"))
    with pytest.raises(InputError, match=f"--out={converted}: exists and is not empty"):
        save_converted(tiny_gpt2, converted)
    assert sorted(converted.rglob("*")) == before


def test_an_unfinished_conversion_is_refused(converted: Path) -> None:
    (converted / CONVERTED).unlink()
    with pytest.raises(InputError, match=r"neither model\.safetensors nor"):
        load_model(str(converted))


@pytest.mark.parametrize("mark", [{}, {"format": 2}, {"format": 1}])
def test_another_format_is_refused(converted: Path, mark: dict) -> None:
    (converted / CONVERTED).write_text(json.dumps(mark))
    with pytest.raises(InputError, match="is not read here, only 1"):
        load_model(str(converted))


def test_a_flipped_bit_is_noticed(converted: Path) -> None:
    path = largest_file(converted / "params")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="params"):
        load_model(str(converted))


def test_a_truncated_file_is_noticed(converted: Path) -> None:
    path = largest_file(converted / "params")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="params"):
        load_model(str(converted))


def test_missing_weights_are_noticed(converted: Path) -> None:
    shutil.rmtree(converted / "params")
    with pytest.raises(InputError, match="params: is missing"):
        load_model(str(converted))


def test_weights_of_another_model_are_noticed(converted: Path) -> None:
    path = converted / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_layer": 2}))
    with pytest.raises(InputError, match="is of another model") as error:
        load_model(str(converted))
    assert "blocks.c_attn.bias has shape (3, 96), expected (2, 96)" in str(error.value)
