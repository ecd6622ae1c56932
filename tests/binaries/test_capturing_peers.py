"""The peers that capture is measured beside compute what ours does."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binaries.benchmarks import capturing_peers as peers
from expertjax.capturing.capture import capture
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import load_model
from expertjax.concepts.tokens import tokenize
from expertjax.models.sites import UnitTable
from tests import bounds
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set
from tests.tiny_models import make_tiny_bert, make_tiny_gpt2

CONCEPTS = tiny_concept_set()


@pytest.fixture(scope="module", params=[make_tiny_gpt2, make_tiny_bert])
def models(request, tmp_path_factory):
    """Ours, torch's and the pool."""
    folder = request.param(tmp_path_factory.mktemp("tiny"))
    model = load_model(str(folder))
    table = UnitTable.build(model.sites, model.num_layers)
    sites = [(site.module_name(layer), site.features) for layer, site in table.segments]
    pool = tokenize(CONCEPTS, model.tokenizer, seq_len=SEQ_LEN)
    return model, peers.load_torch(str(folder), sites), pool


def ours(model: Any, out: Path, **changes: Any) -> np.ndarray:
    settings = CaptureSettings(seq_len=SEQ_LEN, **changes)
    return capture(model, CONCEPTS, out, settings).open_responses().read().result()


@pytest.mark.parametrize("budget", [1, 100, 10_000])
def test_best_torch_agrees(models, tmp_path: Path, budget: int) -> None:
    model, torch_model, pool = models
    computed = peers.capture_torch(torch_model, pool, budget, tmp_path / "torch.npy")
    theirs = np.load(tmp_path / "torch.npy")
    units = UnitTable.build(model.sites, model.num_layers)
    bounds.assert_responses(ours(model, tmp_path / "o"), theirs, units)
    assert computed >= pool.lengths.sum()
    assert (computed == pool.lengths.sum()) == (budget == 1)


def test_reference_agrees_with_compat(models, tmp_path: Path) -> None:
    model, torch_model, pool = models
    folder = tmp_path / "reference"
    computed = peers.capture_reference(torch_model, pool, SEQ_LEN, folder)
    assert computed == len(pool.tokens) * SEQ_LEN
    batches = [pickle.loads(file.read_bytes()) for file in sorted(folder.iterdir())]
    theirs = np.concatenate([np.concatenate([*b.values()], 1) for b in batches])
    whole = ours(model, tmp_path / "ours", compat="selfcond")
    units = UnitTable.build(model.sites, model.num_layers)
    bounds.assert_responses(whole, theirs, units)


def test_batches_keep_to_the_budget() -> None:
    lengths = np.array([1, 1, 2, 3, 5, 5, 9, 30])
    batches = peers.token_batches(lengths, 12)
    assert [row for rows in batches for row in range(rows.start, rows.stop)] == [
        *range(8)
    ]
    for rows in batches:
        count = rows.stop - rows.start
        assert count == 1 or count * lengths[rows.stop - 1] <= 12
