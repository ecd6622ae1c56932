"""Capturing mixtures of experts, against torch, on meshes and at marked tokens."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.absent import ABSENT
from expertjax.capturing.capture import capture
from expertjax.capturing.marking import positions_and_responses
from expertjax.capturing.prepare import prepare
from expertjax.capturing.settings import CaptureSettings
from expertjax.models.edits import Tap
from expertjax.runtime.mesh import make_mesh
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder
from tests import bounds
from tests.capturing.tiny_concepts import tiny_concept_set
from tests.models.parity import Case, make_case
from tests.torch_reference import run_torch

CONCEPTS = tiny_concept_set(1)
SEQ_LEN = 16  # only short sentences, so that little is compiled
SITES = r"layers\.[02]\.mlp"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    pytest.importorskip("torch")
    return make_case(
        "mixtral-window-one-active", tmp_path_factory.mktemp("experts") / "model"
    )


def read(folder: ResultFolder) -> np.ndarray:
    array = folder.open_responses()
    return arrays.read(array, slice(0, array.shape[0]), slice(0, array.shape[1]))


def alone(case: Case, text: str) -> tuple[np.ndarray, np.ndarray]:
    """[T, U] by torch of one sentence, and which of them are there."""
    model = case.model
    tokens = np.array([model.tokenizer(text).input_ids])
    found = run_torch(
        case.torch, tokens, np.ones_like(tokens), model.sites, model.num_layers
    )
    columns = [
        found.sites[site.name][layer][0]
        for layer in (0, 2)
        for site in model.sites
        if site.is_linear and site.name.startswith("mlp")
    ]
    routed = [
        np.broadcast_to(
            (z != 0).any(-1, keepdims=True), z.shape
        )  # torch has 0 at tokens that go elsewhere
        for z in columns
    ]
    return np.concatenate(columns, -1), np.concatenate(routed, -1)


@pytest.mark.parametrize(
    ("mesh", "pooling"),
    [("data:4,model:2", "max"), ("data:2,model:4", "mean"), ("data:8", "last")],
)
def test_responses_are_those_of_torch(
    case: Case, tmp_path: Path, mesh: str, pooling: Any
) -> None:
    settings = CaptureSettings(seq_len=SEQ_LEN, sites=SITES, pooling=pooling)
    folder = capture(case.model, CONCEPTS, tmp_path / "m", settings, make_mesh(mesh))
    ours = read(folder)
    wanted = np.empty_like(ours)
    for row, text in enumerate(folder.read_table("sentences")["text"]):
        z_TxU, there_TxU = alone(case, text)
        count = there_TxU.sum(0)
        pooled = {
            "max": z_TxU.max(0, where=there_TxU, initial=-np.inf),
            "mean": z_TxU.sum(0, where=there_TxU) / np.maximum(count, 1),
            "last": z_TxU[-1],
        }[pooling]
        reached = there_TxU[-1] if pooling == "last" else count > 0
        wanted[row] = np.where(reached, pooled, ABSENT)
    is_absent = wanted == ABSENT
    assert 0.01 < is_absent.mean() < 0.9
    assert ((ours == ABSENT) == is_absent).all()
    there = ~is_absent
    error = np.abs(ours - wanted)[there].max() / wanted[there].std()
    assert error < bounds.of_model(case.model)


def test_marked_tokens_reach_the_expert(case: Case) -> None:
    settings = CaptureSettings(seq_len=SEQ_LEN, sites=SITES)
    prepared = prepare(case.model, CONCEPTS, settings, make_mesh())
    units = np.arange(0, prepared.table.num_units, 37)
    texts = prepared.pool.concepts.sentences
    which = np.tile(np.arange(len(texts)), (len(units), 1))
    positions, responses = positions_and_responses(prepared, units, which)
    for row, text in enumerate(texts):
        z_TxU, there_TxU = (part[:, units] for part in alone(case, text))
        reached = there_TxU.any(0)
        assert ((responses[:, row] == ABSENT) == ~reached).all()
        best = np.where(there_TxU, z_TxU, -np.inf).argmax(0)
        assert (positions[reached, row] == best[reached]).all()


def test_unwanted_experts_are_not_pooled(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pooled: list[set[str]] = []
    routed = Tap.routed

    def watched(self: Tap, *args: Any) -> Any:
        result = routed(self, *args)
        pooled.append(set(self.recorded))
        return result

    monkeypatch.setattr(Tap, "routed", watched)
    settings = CaptureSettings(seq_len=SEQ_LEN, sites=r"1\.mlp\.experts\.2\.down_proj$")
    folder = capture(case.model, CONCEPTS, tmp_path / "m", settings)
    assert set.union(*pooled) == {"mlp.experts.2.down_proj"}
    assert read(folder).shape[1] == 32
