"""The programs without a store: the results of the way through it."""

import functools
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.programs import (
    STOPPED,
    assert_same,
    contents,
    finish,
    kill,
    marks,
    results,
    run_program,
    start,
    start_job,
    wait_for,
)

# 900 sentences, 300 to a concept, 2304 units: one concept at a time.
STORELESS = {"keep_responses": "false", "memory_bytes": 300 * 4 * 2304}
TABLES = "*.parquet"


@pytest.fixture(scope="module")
def storeless(job: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT/tiny without a store. Do not change it."""
    out = tmp_path_factory.mktemp("storeless")
    run_program("find_experts", **job, **STORELESS, out=out)
    return out / "tiny"


def copy(folder: Path, parent: Path) -> Path:
    return Path(shutil.copytree(folder, parent / folder.name))


def test_tables_are_those_of_the_way_through_a_store(
    storeless: Path, alone: Path
) -> None:
    assert len(marks(storeless, "expertise")) == 3 * len(marks(alone, "expertise"))
    there = contents(alone, TABLES)
    assert there.pop("excited.parquet")  # needs responses
    assert_same(contents(storeless, TABLES), there)
    assert not (storeless / "responses.zarr").exists()
    page = (storeless / "report" / "index.html").read_text()
    with_sentences = (alone / "report" / "index.html").read_text()
    print(f"report: {len(page)} bytes, {len(with_sentences)} with sentences")
    assert len(page) < len(with_sentences)


def test_killed_twice_it_ends_in_the_same_bytes(
    job: dict[str, Any], storeless: Path, tmp_path: Path
) -> None:
    moments = random.Random()
    seed = moments.randrange(10**6)
    moments.seed(seed)
    found, there = [], tmp_path / "tiny"

    def reached(count: int) -> bool:
        return len(marks(there, "expertise")) >= count

    for wanted in (1, 7):
        process = start("find_experts", **job, **STORELESS, out=tmp_path)
        wait_for(functools.partial(reached, wanted), [process])
        time.sleep(moments.uniform(0, 0.2))
        kill(process)
        assert process.returncode == -signal.SIGKILL
        found.append(len(marks(there, "expertise")))
    print(f"seed {seed}: killed at {found} of {len(marks(storeless, 'expertise'))}")
    run_program("find_experts", **job, **STORELESS, out=tmp_path)
    assert_same(results(tmp_path / "tiny"), results(storeless))


def test_sigterm_ends_it_with_a_status_of_its_own(
    job: dict[str, Any], storeless: Path, tmp_path: Path
) -> None:
    process = start("find_experts", **job, **STORELESS, out=tmp_path)
    there = tmp_path / "tiny"
    wait_for(lambda: bool(marks(there, "expertise")), [process])
    process.send_signal(signal.SIGTERM)
    [said] = finish(process, status=STOPPED)
    assert "stopped by SIGTERM" in said
    done = len(marks(there, "expertise"))
    assert 0 < done < len(marks(storeless, "expertise"))
    run_program("find_experts", **job, **STORELESS, out=tmp_path)
    assert_same(contents(there), contents(storeless))


def test_two_processes_share_the_groups(
    job: dict[str, Any], storeless: Path, tmp_path: Path
) -> None:
    running = start_job("find_experts", **job, **STORELESS, out=tmp_path)
    there = tmp_path / "tiny"
    wait_for(lambda: bool(marks(there, "expertise")), running)
    running[1].send_signal(signal.SIGTERM)
    finish(*running, status=STOPPED)
    done = marks(there, "expertise")
    groups = sorted({mark // 5 for mark in done})
    print(f"SIGTERM to one of two: both end with groups {groups} finished")
    finish(*start_job("find_experts", **job, **STORELESS, out=tmp_path))
    assert_same(contents(there), contents(storeless))


def test_units_split_over_processes_are_refused(
    job: dict[str, Any], tmp_path: Path
) -> None:
    running = start_job(
        "find_experts", **job, **STORELESS, out=tmp_path, mesh="model:2"
    )
    for text in finish(*running, status=1):
        assert "--keep_responses=false: a `model` axis that spans processes" in text


def test_too_little_memory_names_the_concept(
    job: dict[str, Any], tmp_path: Path
) -> None:
    flags = STORELESS | {"memory_bytes": 10**6}
    said = run_program("find_experts", **job, **flags, out=tmp_path, status=1)
    assert "error: --memory_bytes=1000000: the responses to the sentences of" in said
    assert "sense/c" in said and "Traceback" not in said


def test_other_programs_know_what_is_not_there(storeless: Path, tmp_path: Path) -> None:
    there = copy(storeless, tmp_path)
    shutil.rmtree(there / "report")
    scoring = start("score_experts", responses=there)
    run_program("analyze_experts", results=there)
    [said] = finish(scoring, status=1)
    assert "its responses were not kept (--keep_responses=false)" in said
    assert "Traceback" not in said
    assert_same(contents(there), contents(storeless))
