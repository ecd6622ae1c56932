"""A job that is killed at random moments ends with the bytes of one that is not."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data import REPOSITORY

MODEL = REPOSITORY / "expertjax" / "assets" / "models" / "gpt2_wordnet"
CONCEPTS = REPOSITORY / "expertjax" / "assets" / "concepts" / "wordnet_topics"


def command(concepts: Path, out: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "binaries.find_experts"),
        f"--model={MODEL}",
        f"--concepts={concepts}",
        f"--out={out}",
        "--block_rows=64",
        "--num_per_concept=120",
    ]


def stores(out: Path) -> dict[str, bytes]:
    """Every file of the two stores and the tables of a run."""
    folder = out / "gpt2_wordnet"
    paths = [
        p
        for zarr in ("responses", "expertise")
        for p in folder.glob(f"{zarr}.zarr/**/*")
    ]
    paths += folder.glob("*.parquet")
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in paths
        if path.is_file()
    }


@pytest.fixture(scope="module")
def few_concepts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    rows = (CONCEPTS / "concept_list.csv").read_text().splitlines()[:7]
    (folder / "concept_list.csv").write_text("\n".join(rows) + "\n")
    shutil.copytree(CONCEPTS / "sense", folder / "sense")
    return folder


def test_five_kills_change_no_byte(few_concepts: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start = time.monotonic()
    subprocess.run(
        command(few_concepts, whole), cwd=REPOSITORY, check=True, capture_output=True
    )
    duration = time.monotonic() - start
    moments = random.Random()
    seed = moments.randrange(10**6)
    moments.seed(seed)
    kills = []
    for _ in range(5):
        process = subprocess.Popen(
            command(few_concepts, killed),
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        after = moments.uniform(0.35, 0.75) * duration
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        blocks = len(list(killed.glob("**/responses/*.json")))
        kills.append((round(after, 1), process.returncode, blocks))
        if process.returncode == 0:  # resuming made it quick: begin again
            shutil.rmtree(killed)
    print(f"seed {seed}: (seconds, status, finished blocks) {kills}")
    assert any(status == -signal.SIGKILL for _, status, _ in kills)
    subprocess.run(
        command(few_concepts, killed), cwd=REPOSITORY, check=True, capture_output=True
    )
    assert (killed / "gpt2_wordnet" / "_SUCCESS").is_file()
    wanted, got = stores(whole), stores(killed)
    assert wanted.keys() == got.keys()
    assert [name for name in wanted if wanted[name] != got[name]] == []


@pytest.mark.parametrize("store", ["responses", "expertise"])
def test_sigterm_ends_it_after_a_block(
    few_concepts: Path, tmp_path: Path, store: str
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    flags = ["--block_bytes=1", "--bootstrap_top=2"]
    run = [*command(few_concepts, whole), *flags]
    subprocess.run(run, cwd=REPOSITORY, check=True, capture_output=True)
    blocks = len(list(whole.glob(f"**/.blocks/{store}/0*.json")))
    run = [*command(few_concepts, stopped), *flags]
    process = subprocess.Popen(run, cwd=REPOSITORY, stderr=subprocess.PIPE)
    while not (done := list(stopped.glob(f"**/.blocks/{store}/0*.json"))):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert b"stopped by SIGTERM" in errors
    after = list(stopped.glob(f"**/.blocks/{store}/0*.json"))
    print(
        f"{store}: {len(done)} blocks at SIGTERM, {len(after)} of {blocks} at the end"
    )
    # The one in flight, and those whose writing had begun.
    assert len(after) <= len(done) + 4 < blocks
    subprocess.run(run, cwd=REPOSITORY, check=True, capture_output=True)
    wanted, got = stores(whole), stores(stopped)
    assert wanted.keys() == got.keys()
    assert [name for name in wanted if wanted[name] != got[name]] == []
