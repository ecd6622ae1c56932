"""A job that is ended at any moment ends, when resumed, with the same bytes."""

import concurrent.futures
import functools
import random
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
    wait_for,
)

CHAINS = 2  # jobs side by side, each killed every time that it goes on
# What the kills of a chain are to hit: the start, by the clock; then the work, by
# what is finished of it, as the work is short beside the start.
KILLS = ("start", "start", *("responses",) * 6, "expertise", "expertise")


def kill_often(
    job: dict[str, Any], alone: Path, out: Path, moments: random.Random
) -> list[tuple[str, int, int]]:
    """Kills a job, lets it go on, kills it again; in the end lets it finish.

    Returns:
      what each kill was to hit, finished blocks of responses and of expertise.
    """
    there, found = out / "tiny", []
    for aim in KILLS:
        process = start("find_experts", **job, out=out)
        if aim == "start":
            time.sleep(moments.uniform(0.1, 5))
        else:
            done, every = len(marks(there, aim)), len(marks(alone, aim))
            more = moments.randint(1, max(1, (every - done) // 2))
            aimed = functools.partial(is_reached, there, aim, min(done + more, every))
            wait_for(aimed, [process])
            time.sleep(moments.uniform(0, 0.03))
        kill(process)
        assert process.returncode == -signal.SIGKILL
        found.append(
            (aim, len(marks(there, "responses")), len(marks(there, "expertise")))
        )
    run_program("find_experts", **job, out=out)
    assert_same(results(there), results(alone))
    return found


def is_reached(folder: Path, store: str, count: int) -> bool:
    return len(marks(folder, store)) >= count


def test_twenty_kills_change_no_byte(
    job: dict[str, Any], alone: Path, tmp_path: Path
) -> None:
    seed = random.Random().randrange(10**6)
    print(f"seed {seed}")
    with concurrent.futures.ThreadPoolExecutor(CHAINS) as pool:
        chains = [
            pool.submit(
                kill_often, job, alone, tmp_path / str(i), random.Random(seed + i)
            )
            for i in range(CHAINS)
        ]
        kills = [kill for chain in chains for kill in chain.result()]
    blocks, units = len(marks(alone, "responses")), len(marks(alone, "expertise"))
    captured = sum(0 < responses < blocks for _, responses, _ in kills)
    scored = sum(0 < expertise < units for _, _, expertise in kills)
    print(
        f"{len(kills)} kills, {captured} within capture's {blocks} blocks, {scored} "
        f"within scoring's {units}; (aim, responses, expertise) {kills}"
    )
    # How many hit which part is the machine's; that some did is what the test is for.
    assert len(kills) == 20 and captured + scored >= 2


@pytest.mark.parametrize("store", ["responses", "expertise"])
def test_sigterm_ends_it_after_a_block(
    job: dict[str, Any], alone: Path, tmp_path: Path, store: str
) -> None:
    blocks, there = len(marks(alone, store)), tmp_path / "tiny"
    process = start("find_experts", **job, out=tmp_path)
    wait_for(lambda: bool(marks(there, store)), [process])
    process.send_signal(signal.SIGTERM)
    done = len(marks(there, store))
    [said] = finish(process, status=STOPPED)
    assert "stopped by SIGTERM" in said
    after = len(marks(there, store))
    print(f"{store}: {done} blocks at SIGTERM, {after} of {blocks} at the end")
    # The one in flight, and those whose writing had begun.
    assert after <= done + 4 and after < blocks
    run_program("find_experts", **job, out=tmp_path)
    assert_same(contents(there), contents(alone))
