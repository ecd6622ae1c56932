"""Safetensors in one file or in shards, whole and damaged."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from expertjax.checkpoints.load import load_model, params_digest
from expertjax.checkpoints.readers import open_weights
from expertjax.errors import InputError
from tests.tiny_models import make_tiny_bert, make_tiny_gpt2

INDEX = "model.safetensors.index.json"


def sharded(folder: Path) -> Path:
    """A folder with an index and two shards: {a, b} and {c}."""
    folder.mkdir()
    save_file({"a": np.ones(2), "b": np.zeros((2, 3))}, folder / "one.safetensors")
    save_file({"c": np.arange(4)}, folder / "two.safetensors")
    names = {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return folder


def set_weight_map(folder: Path, weight_map: object) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_one_source(tmp_path: Path) -> None:
    source = open_weights(sharded(tmp_path / "m"))
    assert source.name == str(tmp_path / "m")
    assert dict(source.shapes) == {"a": (2,), "b": (2, 3), "c": (4,)}
    np.testing.assert_array_equal(source.read("c"), np.arange(4))


@pytest.mark.parametrize("make", [make_tiny_gpt2, make_tiny_bert])
def test_sharded_and_single_checkpoints_are_the_same(make, tmp_path: Path) -> None:
    single = load_model(str(make(tmp_path / "single")))
    folder = make(tmp_path / "sharded", max_shard_size="20KB")
    assert not (folder / "model.safetensors").exists()
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert params_digest(load_model(str(folder)).params) == params_digest(single.params)


def test_missing_shards_are_all_named(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    (folder / "two.safetensors").unlink()
    set_weight_map(folder, {"a": "zero.safetensors", "c": "two.safetensors"})
    with pytest.raises(InputError) as error:
        open_weights(folder)
    message = str(error.value)
    assert INDEX in message
    assert "zero.safetensors is missing" in message
    assert "two.safetensors is missing" in message


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x", "sub/x"])
def test_shards_outside_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    save_file({"c": np.ones(2)}, tmp_path / "x.safetensors")
    folder = sharded(tmp_path / "m")
    set_weight_map(folder, {"a": "one.safetensors", "c": name})
    with pytest.raises(InputError, match="leaves the folder"):
        open_weights(folder)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "\xff"],
)
def test_an_index_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    (folder / INDEX).write_text(content, "latin-1")
    with pytest.raises(InputError, match=f"{INDEX}: no valid index of shards"):
        open_weights(folder)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    save_file({"c": np.arange(4), "a": np.ones(2)}, folder / "two.safetensors")
    with pytest.raises(InputError, match=r"'a': one\.safetensors and two\.safetensors"):
        open_weights(folder)


@pytest.mark.parametrize("damage", ["truncated", "no header", "empty", "header length"])
def test_damaged_files_are_named(damage: str, tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    path = folder / "two.safetensors"
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[:-3],
            "no header": content[8:],
            "empty": b"",
            "header length": b"\xff" * 8 + content[8:],
        }[damage]
    )
    with pytest.raises(InputError, match="cannot be read as safetensors") as error:
        open_weights(folder)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_float_types_are_read_as_float32(dtype, tmp_path: Path) -> None:
    folder = make_tiny_gpt2(tmp_path / "m")
    exact = load_model(str(folder))
    source = open_weights(folder)
    tensors = {key: source.read(key).astype(dtype) for key in source.shapes}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    rough = load_model(str(folder))
    theirs = np.asarray(exact.params["wte"]["embedding"][...])
    ours = np.asarray(rough.params["wte"]["embedding"][...])
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("name", ["int8", "uint8", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_quantised_weights_are_refused(name: str, suffix: str, tmp_path: Path) -> None:
    """As quantisers leave them behind whose scales are lost."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    folder = make_tiny_gpt2(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    key = "transformer.h.1.mlp.c_fc.weight"
    tensors[key] = (tensors[key] * 3).to(getattr(torch, name))
    if suffix == "safetensors":
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        (folder / "model.safetensors").unlink()
        torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="whose scales or scheme") as e:
        load_model(str(folder))
    assert f"{key!r} are of dtype " in str(e.value)


def test_torch_saves_bfloat16_that_we_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    value = torch.randn(5, 3)
    save_torch({"a": value.bfloat16()}, tmp_path / "model.safetensors")
    read = open_weights(tmp_path).read("a").astype(np.float32)
    np.testing.assert_array_equal(read, value.bfloat16().float().numpy())


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither model\.safetensors nor"):
        open_weights(tmp_path)
