"""Probing several models: tables, interruptions, other runs in the same folder."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import expertjax as ej
from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.probing import run
from expertjax.stores.paths import as_path
from tests.capturing.tiny_concepts import write_tiny_concepts
from tests.programs import assert_same, contents, run_program
from tests.tiny_models import SENTENCES

SETTINGS = ej.ProbeSettings(seq_len=48, l2=(0.1,), num_per_concept=14)


@pytest.fixture(scope="module")
def concepts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_concepts(tmp_path_factory.mktemp("tasks") / "concepts")


@pytest.fixture(scope="module")
def models(tiny_gpt2_folder: Path, tiny_bert_folder: Path) -> list[str]:
    return [str(tiny_gpt2_folder), str(tiny_bert_folder)]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(SENTENCES))
    return str(path)


@pytest.fixture(scope="module")
def out(
    models: list[str], concepts: Path, text: str, tmp_path_factory: Path
) -> Iterator[Path]:
    """Both models, in one go. Do not change it."""
    folder = tmp_path_factory.mktemp("out")
    ej.probe_models(models, [concepts], folder, SETTINGS, text=text)
    yield folder


def test_tables_hold_every_model_and_task(out: Path, text: str) -> None:
    probes = pd.read_csv(out / "probes.csv")
    assert probes.columns.tolist() == [
        *("model", "task", "n_train", "n_validation", "n_test", "l2", "accuracy"),
        *("balanced_accuracy", "auroc", "majority"),
    ]
    assert probes.groupby("model").size().to_dict() == {"tiny-bert": 3, "tiny-gpt2": 3}
    assert (probes[["n_train", "n_validation", "n_test"]].sum(1) == 28).all()
    models = pd.read_csv(out / "models.csv").set_index("model")
    means = probes.groupby("model")[["accuracy", "auroc"]].mean()
    pd.testing.assert_frame_equal(models[["accuracy", "auroc"]], means)
    assert models.loc["tiny-bert", ["perplexity", "bits_per_byte"]].isna().all()
    assert models["causal"].to_dict() == {"tiny-bert": False, "tiny-gpt2": True}
    assert models["num_truncated"].to_dict() == {"tiny-bert": 0, "tiny-gpt2": 4}
    for name in ("accuracy", "auroc", "bits_per_byte"):
        benchmark = pd.read_csv(out / f"benchmark_{name}.csv")
        assert benchmark.columns.tolist() == ["model", "score"]
        wanted = models[name].dropna().to_dict()
        assert benchmark.set_index("model")["score"].to_dict() == wanted
    assert (out / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_the_facade_gives_the_same(
    out: Path, models: list[str], concepts: Path
) -> None:
    gpt2 = ej.load_model(models[0])
    table = pd.read_csv(out / "probes.csv")
    wanted = table[table["model"] == "tiny-gpt2"].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        ej.probe(gpt2, concepts, SETTINGS), wanted.iloc[:, 1:]
    )
    bits = pd.read_csv(out / "benchmark_bits_per_byte.csv")["score"]
    np.testing.assert_allclose(bits, [ej.bits_per_byte(gpt2, SENTENCES)])


def test_an_interrupted_job_ends_with_the_same_files(
    out: Path,
    models: list[str],
    concepts: Path,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = []

    def interrupted(model: Model, *args: object) -> run.ProbeResults:
        loaded.append(model.name)
        if len(loaded) == 2:
            raise KeyboardInterrupt
        return whole(model, *args)

    whole = run.probe_model
    monkeypatch.setattr(run, "probe_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ej.probe_models(models, [concepts], tmp_path, SETTINGS, text=text)
    half = pd.read_csv(tmp_path / "models.csv")
    assert half["model"].tolist() == ["tiny-gpt2"]
    # What a job that is killed while it writes leaves behind.
    (tmp_path / ".blocks/probes/models/.tiny-bert.json.1").write_text('{"pa')
    ej.probe_models(models, [concepts], tmp_path, SETTINGS, text=text)
    assert loaded == ["tiny-gpt2", "tiny-bert", "tiny-bert"]
    (tmp_path / ".blocks/probes/models/.tiny-bert.json.1").unlink()
    assert_same(contents(tmp_path), contents(out))


def test_jobs_that_share_the_models_end_with_the_same_files(
    out: Path, models: list[str], concepts: Path, text: str, tmp_path: Path
) -> None:
    for shard in ("1/2", "0/2"):
        job = ej.FindSettings(shard_models=shard)
        ej.probe_models(models, [concepts], tmp_path, SETTINGS, text=text, job=job)
    assert_same(contents(tmp_path), contents(out))


def test_another_run_is_refused_and_says_what_differs(
    out: Path, models: list[str], concepts: Path, text: str
) -> None:
    before = contents(out)
    other = ej.ProbeSettings(seq_len=40, l2=(0.1,), num_per_concept=14)
    with pytest.raises(InputError, match="seq_len: there 48, here 40"):
        ej.probe_models(models, [concepts], out, other, text=text)
    with pytest.raises(InputError, match="text_sha256"):
        ej.probe_models(models, [concepts], out, SETTINGS)
    with pytest.raises(InputError, match=r"tiny-bert from .*tiny-bert, not from"):
        swapped = ["tiny-bert", "tiny-gpt2"]
        ej.probe_models(models, [concepts], out, SETTINGS, swapped, text)
    assert contents(out) == before


def test_the_program(models: list[str], concepts: Path, tmp_path: Path) -> None:
    """An encoder alone has no bits per byte, which its table says."""
    flags = {"tasks": concepts, "seq_len": 48, "l2": "0.1", "num_per_concept": 14}
    said = run_program("probe_models", model=models[1], out=tmp_path / "out", **flags)
    assert "tiny-bert" in said
    assert not (tmp_path / "out" / "benchmark_bits_per_byte.csv").exists()
    [row] = pd.read_csv(tmp_path / "out" / "models.csv").to_dict("records")
    assert row["causal"] is False and np.isnan(row["bits_per_byte"])
    flags["l2"] = "a lot"
    said = run_program(
        "probe_models", model=models[1], out=tmp_path / "new", **flags, status=1
    )
    assert said.splitlines()[-1] == "error: --l2=a lot: expected numbers"
    assert not (tmp_path / "new").exists()


def test_results_go_to_a_bucket(
    out: Path, models: list[str], concepts: Path, text: str, bucket: str
) -> None:
    place = f"{bucket}/probed"
    results = ej.probe_models(models, [concepts], place, SETTINGS, text=text)
    folder = as_path(place)
    for name in ("probes.csv", "models.csv", "accuracy.png"):
        assert (folder / name).read_bytes() == (out / name).read_bytes()
    done = folder / ".blocks/probes/models/tiny-bert.json"
    assert json.loads(done.read_text())["path"] == models[1]
    assert len(results.models) == 2
