"""The programs on `gs://` paths, against a fake bucket."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from expertjax.analysis.compare import CompareSettings, compare
from expertjax.analysis.expertise import Expertise
from expertjax.analysis.export import export_expertise
from expertjax.api import score
from expertjax.report.build import build_report
from expertjax.report.comparison import write_comparison
from expertjax.scoring.settings import ScoreSettings
from expertjax.stores.paths import as_path, names
from tests.capturing.tiny_concepts import write_tiny_concepts
from tests.data import REPOSITORY


def program(name: str, *flags: str) -> list[str]:
    return [sys.executable, "-m", f"binaries.{name}", *flags]


def run(name: str, *flags: str) -> str:
    done = subprocess.run(
        program(name, *flags), cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def local_files(folder: Path) -> dict[str, bytes]:
    """Content by name, of a folder and all that are in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def bucket_files(folder: str) -> dict[str, bytes]:
    """The same of a bucket."""
    import fsspec

    files: Any = fsspec.filesystem("gcs")
    start = folder.removeprefix("gs://") + "/"
    return {
        path.removeprefix(start): files.cat_file(path) for path in files.find(start)
    }


def assert_same(wanted: dict[str, bytes], got: dict[str, bytes]) -> None:
    assert wanted.keys() == got.keys()
    assert [name for name in wanted if wanted[name] != got[name]] == []


@pytest.fixture(scope="module")
def flags(tiny_gpt2_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """A job of many blocks."""
    concepts = write_tiny_concepts(tmp_path_factory.mktemp("concepts") / "tiny")
    return [
        f"--model={tiny_gpt2_folder}",
        f"--concepts={concepts}",
        *("--seq_len=48", "--block_rows=4", "--block_bytes=1", "--bootstrap_top=3"),
    ]


@pytest.fixture(scope="module")
def local(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of that job on disk."""
    out = tmp_path_factory.mktemp("local")
    run("find_experts", *flags, f"--out={out}")
    return out


@pytest.fixture(scope="module")
def remote(flags: list[str], bucket: str) -> str:
    """OUT of that job in a bucket."""
    out = f"{bucket}/whole"
    said = run("find_experts", *flags, f"--out={out}")
    assert f"report: {out}/tiny-gpt2/report/index.html" in said
    return out


def test_a_bucket_holds_the_bytes_of_a_local_run(local: Path, remote: str) -> None:
    wanted = local_files(local)
    print(f"{len(wanted)} files, {sum(map(len, wanted.values())):,} bytes")
    assert {"tiny-gpt2/run.json", "tiny-gpt2/_SUCCESS"} < wanted.keys()
    assert_same(wanted, bucket_files(remote))


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGKILL")
def test_a_killed_job_goes_on(flags: list[str], local: Path, bucket: str) -> None:
    out = f"{bucket}/killed"
    for store in ("responses", "expertise"):
        marks = as_path(f"{out}/tiny-gpt2/.blocks/{store}")
        process = subprocess.Popen(
            program("find_experts", *flags, f"--out={out}"),
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not names(marks):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        print(f"killed with {len(names(marks))} blocks of the {store}")
        assert "tiny-gpt2/_SUCCESS" not in bucket_files(out)
    run("find_experts", *flags, f"--out={out}")
    assert_same(local_files(local), bucket_files(out))


def test_the_other_programs(
    local: Path, remote: str, bucket: str, tmp_path: Path
) -> None:
    run(
        "score_experts",
        f"--responses={remote}/tiny-gpt2",
        f"--out={bucket}/scored",
        "--holdout=0.3",
    )
    run("analyze_experts", f"--results={bucket}/scored", "--gamma=0.8")
    run("analyze_experts", f"--results={remote}", f"--out={bucket}/reports")
    run(
        "export_expertise",
        *(f"--results={remote}", f"--out={bucket}/export", "--format=selfcond"),
    )

    scored = score(
        local / "tiny-gpt2",
        out=local.parent / "scored" / "tiny-gpt2",
        settings=ScoreSettings(holdout=0.3),
    )
    build_report(scored, 0.8)
    scored.folder.succeed()
    wanted = local_files(local.parent / "scored")
    # There it says how to get from one to the other.
    way = f"../../{local.name}/tiny-gpt2".encode()
    run_json = wanted["tiny-gpt2/run.json"]
    assert way in run_json
    wanted["tiny-gpt2/run.json"] = run_json.replace(way, b"../../whole/tiny-gpt2")
    assert_same(wanted, bucket_files(f"{bucket}/scored"))

    whole = Expertise.open(local / "tiny-gpt2")
    write_comparison(tmp_path / "reports", compare([whole], CompareSettings(gamma=0.9)))
    build_report(whole, 0.9, tmp_path / "reports" / "tiny-gpt2")
    assert_same(local_files(tmp_path / "reports"), bucket_files(f"{bucket}/reports"))
    export_expertise(whole, tmp_path / "export", "selfcond")
    assert_same(local_files(tmp_path / "export"), bucket_files(f"{bucket}/export"))


def test_results_in_a_bucket_scored_on_disk(remote: str, tmp_path: Path) -> None:
    scored = score(
        f"{remote}/tiny-gpt2",
        out=tmp_path / "tiny-gpt2",
        settings=ScoreSettings(metrics="ap", bootstrap_top=1),
    )
    assert "sentence" in next(iter(scored.most_exciting([5], 2).values()))


def test_a_bucket_that_is_not_there_is_one_line(flags: list[str], bucket: str) -> None:
    done = subprocess.run(
        program("find_experts", *flags, "--out=gs://nowhere/out"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "error: gs://nowhere: cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
