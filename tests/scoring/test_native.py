"""Compiled code is kept for later runs, and made anew where it is damaged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data import REPOSITORY

CODE = """
import numpy as np
from expertjax.scoring.summary import MAGNITUDE
from expertjax.scoring.network import sort_tile, tile_rows
tile = np.arange(64, dtype=np.int32)[::-1].repeat(16).reshape(64, 16).copy()
sort_tile(tile, *tile_rows(64))
assert (tile[:, 0] == np.arange(64)).all()
print(sum(sort_tile.stats.cache_hits.values()))
"""


def run(caches: Path, **variables: str) -> int:
    """Sorts in a process of its own; how often compiled code was found."""
    environment = os.environ | {"XDG_CACHE_HOME": str(caches)} | variables
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=REPOSITORY,
        env=environment,
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_code_is_found_again_and_damage_heals(tmp_path: Path):
    assert run(tmp_path) == 0
    assert run(tmp_path) == 1
    files = [path for path in tmp_path.rglob("*.nb?") if "sort_tile" in path.name]
    assert {path.suffix for path in files} == {".nbi", ".nbc"}
    for suffix in (".nbi", ".nbc"):
        for path in files:
            if path.suffix == suffix:
                path.write_bytes(path.read_bytes()[:20])
        assert run(tmp_path) == 0
        assert run(tmp_path) == 1


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "NUMBA_CACHE_DIR"])
def test_it_goes_on_without_a_cache(tmp_path: Path, variable: str):
    assert run(tmp_path, **{variable: "/dev/null/none"}) == 0
