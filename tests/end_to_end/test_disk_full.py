"""A disk that is full: one clear line, and the job goes on once there is room."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.programs import assert_same, contents, marks, start


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; skips where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    done = mount(folder, "-t", "tmpfs", "-o", "size=3m", "tmpfs")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def mount(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *args, folder], text=True, capture_output=True)


def pages(folder: Path, *patterns: str) -> int:
    """What some files take of a tmpfs, in bytes."""
    sizes = map(len, contents(folder, *patterns).values())
    return sum(-(-size // 4096) * 4096 for size in sizes)


def test_a_full_disk_is_said_and_the_job_goes_on(
    job: dict[str, Any], alone: Path, small_disk: Path
) -> None:
    there = small_disk / "tiny"
    # Not even the responses; these, but not the expertise; everything.
    stored = "responses.zarr/**/*", ".blocks/responses/*", ".blocks/at_first.zarr/**/*"
    responses = pages(alone, *stored, "*.parquet")
    sizes = f"{responses // 2048}k", f"{responses // 1024 + 150}k", "64m"
    found = []
    for size in sizes:
        assert not mount(small_disk, "-o", f"remount,size={size}").returncode
        process = start("find_experts", **job, out=small_disk)
        said = "".join(process.communicate(timeout=120))
        blocks = [len(marks(there, store)) for store in ("responses", "expertise")]
        errors = [line for line in said.splitlines() if line.startswith("error:")]
        print(f"{size}: status {process.returncode}, blocks {blocks}, {errors}")
        found.append(blocks)
        if size == sizes[-1]:
            break
        assert process.returncode == 1 and "Traceback" not in said
        assert len(errors) == 1 and "run the same command again" in errors[0]
        assert str(there) in errors[0] or "No space left" in errors[0]
        assert not (there / "_SUCCESS").exists()
    assert not process.returncode
    assert found[0][0] < found[1][0] == found[2][0]
    assert found[0][1] == 0 and found[1][1] < found[2][1]
    assert_same(contents(there), contents(alone))
