"""JAX's settings that people carry along change nothing that we make."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

import expertjax as ej
from tests.binaries.conftest import Found
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set
from tests.programs import assert_same, finish, results, run_program, start

SETTINGS = {
    "JAX_ENABLE_X64": "1",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_TRANSFER_GUARD": "disallow",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
}


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_main_job(found: Found, tmp_path: Path, carried: pytest.MonkeyPatch):
    finish(start("find_experts", **found.flags, out=tmp_path))
    assert_same(results(tmp_path / found.folder.name), results(found.folder))


def test_generation(found: Found, tmp_path: Path, carried: pytest.MonkeyPatch):
    flags = {"model": found.flags["model"], "expertise": found.folder, "seed": 3}
    flags |= {"concept": "भाषा/ไทย", "num_units": "0,5", "num_samples": 2}
    finish(start("generate_text", **flags, out=tmp_path / "carried.csv"))
    carried.undo()
    run_program("generate_text", **flags, out=tmp_path / "plain.csv")
    there, wanted = (
        pd.read_csv(tmp_path / f"{name}.csv") for name in ("carried", "plain")
    )
    pd.testing.assert_frame_equal(there, wanted)


def test_probing(found: Found, tmp_path: Path, carried: pytest.MonkeyPatch):
    (tmp_path / "text.txt").write_text("A crane lifted the beam.\nRain fell.\n")
    flags = {"model": found.flags["model"], "tasks": found.flags["concepts"]}
    flags |= {"seq_len": 60, "text": tmp_path / "text.txt"}
    finish(start("probe_models", **flags, out=tmp_path / "carried"))
    carried.undo()
    run_program("probe_models", **flags, out=tmp_path / "plain")
    for name in ("models.csv", "probes.csv"):
        there, wanted = (tmp_path / folder / name for folder in ("carried", "plain"))
        assert there.read_bytes() == wanted.read_bytes()


@contextlib.contextmanager
def changed() -> Iterator[None]:
    """As a notebook's first cell may have it, for all threads."""
    values: dict[str, Any] = {
        "jax_enable_x64": True,
        "jax_numpy_rank_promotion": "raise",
        "jax_transfer_guard_host_to_device": "disallow",
    }
    before = {name: getattr(jax.config, name) for name in values}
    for name, value in values.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def make(tiny_gpt2_folder: Path, out: Path) -> tuple[np.ndarray, list[str], np.ndarray]:
    model = ej.load_model(str(tiny_gpt2_folder))
    settings = ej.CaptureSettings(seq_len=SEQ_LEN)
    responses = ej.capture(model, tiny_concept_set(), out, settings)
    expertise = ej.score(responses)
    edit = expertise.force("sense/tiny-0", k=5)
    texts = ej.generate(model, "The crane", edit, range(2), max_new_tokens=8)
    sentences = list(texts["sentence"])
    return expertise.metric("ap"), sentences, ej.perplexity(model, sentences)


def test_the_facade_in_a_notebook(tiny_gpt2_folder: Path, tmp_path: Path):
    wanted = make(tiny_gpt2_folder, tmp_path / "plain")
    with changed():
        there = make(tiny_gpt2_folder, tmp_path / "changed")
        assert jax.config.jax_enable_x64  # left as the user has it
    assert there[1] == wanted[1]
    np.testing.assert_array_equal(there[0], wanted[0])
    np.testing.assert_array_equal(there[2], wanted[2])
