"""How far ways of computing agree, measured by the real programs on a tiny model."""

from pathlib import Path

import numpy as np
import pytest

from binaries.benchmarks import agreement
from tests.capturing.tiny_concepts import write_tiny_concepts

pytest.importorskip("torch")


WAYS = "processes, model:2|bfloat16|float64"


def test_the_tables_say_how_far_ways_agree(
    tiny_gpt2_folder: Path, tmp_path: Path
) -> None:
    concepts = write_tiny_concepts(tmp_path / "concepts")
    models = [str(tiny_gpt2_folder)]
    (report,) = agreement.agreement_reports(models, str(concepts), WAYS)
    heading, ways, tolerances = report.strip().split("\n\n")
    assert "864 units, 3 concepts" in heading
    rows = [line.rsplit(maxsplit=6) for line in ways.splitlines()[1:]]
    names = [row[0].strip() for row in rows]
    assert names == ["two processes, model:2", "bfloat16", "float64, torch"]
    split, rough, exact = (list(map(float, row[1:])) for row in rows)
    # Responses: the largest difference, and the typical one.
    assert 0 < split[0] < 1e-4 < rough[0]
    assert 0 < exact[1] < 1e-5 < rough[1]
    assert len(tolerances.splitlines()) == 1 + len(agreement.TOLERANCES)
    first = tolerances.splitlines()[1].split()
    assert first[0] == "0" and float(first[3]) == 0  # nothing moves from itself


def test_most_is_what_all_but_a_thousandth_do_not_exceed() -> None:
    error = np.zeros(10_000)
    error[:9] = 1.0
    assert agreement._most(error) == 0
    error[:11] = 1.0
    assert agreement._most(error) == 1
