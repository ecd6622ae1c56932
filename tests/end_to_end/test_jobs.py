"""One job in two processes, from the model to the report; ended at any moment."""

import functools
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder
from tests import bounds
from tests.programs import (
    STOPPED,
    assert_same,
    contents,
    finish,
    kill,
    marks,
    results,
    start_job,
    wait_for,
)

NAME = "tiny"


def read_responses(folder: Path) -> np.ndarray:
    array = ResultFolder(folder).open_responses()
    return arrays.read(array, slice(0, array.shape[0]), slice(0, array.shape[1]))


def after_rounds(folder: Path, count: int) -> list[int]:
    """The blocks of sentences that are there once both processes have finished some.

    Spans of blocks are dealt to them in turn; after every block they meet.

    Args:
      folder: of the result.
      count: of blocks, of both together.
    """
    capture = ResultFolder(folder).read_run()["capture"]
    blocks = -(-capture["num_sentences"] // capture["block_rows"])
    per_span = capture.get("span_rows", capture["block_rows"]) // capture["block_rows"]
    of_each = [[b for b in range(blocks) if b // per_span % 2 == i] for i in range(2)]
    return sorted(of_each[0][: count // 2] + of_each[1][: count // 2])


def test_processes_that_split_sentences_make_the_same_bytes(
    job: dict[str, Any], alone: Path, tmp_path: Path
) -> None:
    begun = time.monotonic()
    first, second = finish(
        *start_job("find_experts", **job, out=tmp_path, mesh="data:2")
    )
    print(f"data:2 in two processes: {time.monotonic() - begun:.1f} s")
    assert "report: " in first and "report: " not in second
    assert_same(contents(tmp_path / NAME), contents(alone))


def test_processes_that_split_units_make_the_same_responses(
    job: dict[str, Any], alone: Path, tmp_path: Path
) -> None:
    finish(*start_job("find_experts", **job, out=tmp_path, mesh="model:2"))
    folder = ResultFolder(tmp_path / NAME)
    wanted, there = read_responses(alone), read_responses(folder.path)
    bounds.assert_responses(there, wanted, folder.read_table("units"))
    blocks = -(-len(wanted) // 8)
    assert marks(folder.path, "responses") == list(range(2 * blocks))
    assert (folder.path / "report" / "index.html").is_file()


@pytest.mark.parametrize(
    ("store", "which", "mesh"),
    [("responses", 0, "data:2"), ("responses", 1, "model:2"), ("expertise", 1, "")],
)
def test_sigterm_to_one_ends_both_after_the_same_block(
    job: dict[str, Any],
    alone: Path,
    tmp_path: Path,
    store: str,
    which: int,
    mesh: str,
) -> None:
    running = start_job("find_experts", **job, out=tmp_path, mesh=mesh)
    wait_for(lambda: len(marks(tmp_path / NAME, store)) >= 2, running)
    running[which].send_signal(signal.SIGTERM)
    before = len(marks(tmp_path / NAME, store))
    said = finish(*running, status=STOPPED)
    assert all("stopped by SIGTERM" in text for text in said)
    after, every = marks(tmp_path / NAME, store), len(marks(alone, store))
    if mesh == "model:2":
        every *= 2
    print(
        f"SIGTERM to process {which} at {before} blocks of {store}: both end at "
        f"{len(after)} of {every}"
    )
    # Whole rounds, in each of which every process finishes a block or its part of one.
    wanted = list(range(len(after)))
    if (store, mesh) == ("responses", "data:2"):
        wanted = after_rounds(tmp_path / NAME, len(after))
    assert after == wanted and len(after) % 2 == 0
    assert len(after) < every
    finish(*start_job("find_experts", **job, out=tmp_path, mesh=mesh))
    if mesh == "model:2":
        units = ResultFolder(alone).read_table("units")
        there = read_responses(tmp_path / NAME)
        bounds.assert_responses(there, read_responses(alone), units)
    else:
        assert_same(contents(tmp_path / NAME), contents(alone))


def test_ctrl_c_at_one_ends_both_after_the_same_block(
    job: dict[str, Any], alone: Path, tmp_path: Path
) -> None:
    running = start_job("find_experts", **job, out=tmp_path)
    wait_for(lambda: len(marks(tmp_path / NAME, "responses")) >= 2, running)
    running[0].send_signal(signal.SIGINT)
    said = finish(*running, status=130)
    line = "stopped by Ctrl-C; the same command goes on from here"
    assert all(line in text and "Traceback" not in text for text in said)
    after = marks(tmp_path / NAME, "responses")
    assert after == after_rounds(tmp_path / NAME, len(after)) and len(after) % 2 == 0
    assert len(after) < len(marks(alone, "responses"))


def test_the_end_of_one_ends_the_other(
    job: dict[str, Any], alone: Path, tmp_path: Path
) -> None:
    moments = random.Random()
    seed = moments.randrange(10**6)
    moments.seed(seed)
    out, rounds = tmp_path / "out", []
    every = len(marks(alone, "responses"))

    def is_reached(count: int) -> bool:
        return len(marks(out / NAME, "responses")) >= count

    for number in range(5):
        victim, done = moments.randrange(2), len(marks(out / NAME, "responses"))
        if done == every:
            break
        running = start_job("find_experts", **job, out=out)
        if number:
            more = moments.randint(1, max(1, (every - done) // 2))
            wait_for(functools.partial(is_reached, done + more), running)
            time.sleep(moments.uniform(0, 0.1))
        else:  # once they have met (for that, JAX waits 300 s), before there is a block
            wait_for((out / NAME / "run.json").exists, running)
        kill(running[victim])
        killed, other = time.monotonic(), running[1 - victim]
        other.communicate(timeout=60)
        waited = time.monotonic() - killed
        blocks = [len(marks(out / NAME, store)) for store in ("responses", "expertise")]
        rounds.append((victim, blocks, other.returncode, round(waited, 1)))
        assert running[victim].returncode == -signal.SIGKILL, rounds
        assert other.returncode != 0, rounds
    print(
        f"seed {seed}: (killed, finished blocks, the other's status, its seconds) "
        f"{rounds}"
    )
    assert len(rounds) >= 3
    finish(*start_job("find_experts", **job, out=out))
    assert_same(results(out / NAME), results(alone))
