"""Results side by side, and what is written of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expertjax.analysis.compare import CompareSettings, compare
from expertjax.errors import InputError
from expertjax.report.comparison import summary, write_comparison
from tests.data import REPOSITORY

KEYS = [f"sense/{'ab'[i % 2]}{i}" for i in range(8)]
NUM_UNITS = 300


def draw_ap(quality: float, seed: int, rows: int = 8) -> np.ndarray:
    """Concepts of one letter share their best units; more quality, more experts."""
    rng = np.random.default_rng(seed)
    ap_CxU = 0.3 + 0.2 * rng.random((rows, NUM_UNITS), np.float32)
    for row in range(rows):
        shared = np.arange(20) + 20 * (row % 2)
        own = rng.choice(np.arange(40, NUM_UNITS), 10, replace=False)
        ap_CxU[row, shared] += quality * rng.random(20)
        ap_CxU[row, own] += quality * rng.random(10)
    return ap_CxU.clip(0, 1)


@pytest.fixture
def inputs(tmp_path: Path, make_result):
    """Nine results, of which one lacks a concept; scores and groups."""
    results = [
        make_result(f"results/m{i}", draw_ap(0.2 + i / 20, i), KEYS) for i in range(8)
    ]
    results.append(make_result("results/m8", draw_ap(0.55, 8, 7), KEYS[:7]))
    scores = "".join(f"m{i},{10 + i}\n" for i in range(9))
    (tmp_path / "glue.csv").write_text(f"model,score\n{scores}other,1\n")
    groups = "".join(f"{key},{key[6]}\n" for key in KEYS[:7])
    (tmp_path / "groups.csv").write_text(f"concept,group\n{groups}")
    settings = CompareSettings(
        gamma=0.7,
        top_k=20,
        benchmarks=(str(tmp_path / "glue.csv"),),
        groups=str(tmp_path / "groups.csv"),
    )
    return results, settings


def test_everything_is_compared(inputs, tmp_path: Path) -> None:
    results, settings = inputs
    found = compare(results, settings)
    assert found.presence.concepts == tuple(KEYS[:7])
    naive = [(result.metric("ap")[:7] >= np.float32(0.7)).sum() for result in results]
    assert list(found.presence.table(0.7)["experts"]) == naive
    best = found.rankings["glue"].best.set_index("measure").loc["experts"]
    assert best["r2"] > 0.9 and best["spearman"] > 0.9 and best["p"] < 0.01
    # All eight of a model's own concepts, where it has them.
    assert len(found.colearning[0].found.keys) == 8
    assert (found.colearning[0].groups["ratio"][0]) > 2
    assert len(found.agreement) == 36 and found.agreement["spearman"].min() > 0
    assert any(w.startswith("m0: 1 concepts are not in all") for w in found.warnings)

    files = write_comparison(tmp_path / "out", found)
    assert {str(path.relative_to(tmp_path / "out")) for path in files} >= {
        "presence.csv", "layers.csv", "presence.png", "depth.png", "ranking.csv",
        "ranking.json", "r2_glue.png", "scores_glue.png", "colearning_models.csv",
        "groups.csv", "groups.png", "m0/overlap.csv", "m0/overlap.png",
        "m0/nearest.csv", "m0/pairs.csv", "m0/groups.csv", "m0/groups.png",
    }  # fmt: skip
    assert not list((tmp_path / "out").rglob(".*"))
    again = pd.read_csv(tmp_path / "out/m0/overlap.csv", index_col="concept")
    np.testing.assert_allclose(again, results[0].overlap(k=20), rtol=1e-5)
    about = json.loads((tmp_path / "out/ranking.json").read_text("utf-8"))["glue"]
    assert about["models"] == 9 and "other" in about["warnings"][0]
    text = summary(found)
    assert "benchmark glue, 9 models" in text and "no result for the score of" in text


def test_one_result_without_anything_else(make_result, tmp_path: Path) -> None:
    found = compare([make_result("one", draw_ap(0.4, 0), KEYS)], CompareSettings())
    assert found.agreement is None and found.groups is None and not found.rankings
    names = {path.name for path in write_comparison(tmp_path / "out", found)}
    assert "overlap.png" in names and "ranking.csv" not in names
    assert summary(found).startswith("1 models, 8 concepts")


def test_another_share_of_positives_is_said(make_result) -> None:
    a = make_result("a", draw_ap(0.4, 0), KEYS)
    b = make_result("b", draw_ap(0.4, 1), KEYS, chance=0.5)
    warnings = compare([a, b]).warnings
    assert any("8 concepts have another share of positives" in w for w in warnings)


def test_another_way_of_computing_is_said(make_result) -> None:
    tolerances = {"a": 3e-5, "b": None, "c": 3e-5, "d": 0.0}
    results = [
        make_result(name, draw_ap(0.4, i), KEYS, tie_tolerance=tolerance)
        for i, (name, tolerance) in enumerate(tolerances.items())
    ]
    said = [w for w in compare(results).warnings if "tie_tolerance" in w]
    assert said == [
        "--tie_tolerance differs: 3e-05 in a, 0.0 in d; what differs between the "
        "results may be that"
    ]
    assert not [w for w in compare(results[:3]).warnings if "differs:" in w]


def test_too_few_units(make_result) -> None:
    result = make_result("a", draw_ap(0.4, 0), KEYS)
    with pytest.raises(InputError, match="expected 1 to 300"):
        compare([result], CompareSettings(top_k=301))


def run(*args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "binaries.analyze_experts", *args]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_the_program_refuses_before_it_writes(inputs, tmp_path: Path) -> None:
    where = f"--results={tmp_path}/results"
    alone = run(where, f"--groups={tmp_path}/groups.csv")
    assert alone.returncode == 1 and "need --out" in alone.stderr
    (tmp_path / "glue.csv").write_text("model,score\nm1,high\n")
    bad = run(where, f"--out={tmp_path}/o", f"--benchmark_csv={tmp_path}/glue.csv")
    assert bad.returncode == 1 and "score 'high' is no number" in bad.stderr
    assert not (tmp_path / "o").exists()
