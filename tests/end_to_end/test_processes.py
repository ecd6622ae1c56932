"""One job in two processes: the same bytes as in one."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from expertjax.capturing.capture import capture
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set
from tests.data import REPOSITORY


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def score(responses: Path, *flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "binaries.score_experts"]
    command += [f"--responses={responses}", "--block_bytes=1", "--holdout=0.3", *flags]
    return subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("kernel", ["compiled", "jax"])
def test_two_processes_score_together(
    tiny_gpt2: Model, tmp_path: Path, kernel: str
) -> None:
    settings = CaptureSettings(seq_len=SEQ_LEN)
    alone = capture(tiny_gpt2, tiny_concept_set(), tmp_path / "a" / "tiny", settings)
    shared = Path(shutil.copytree(alone.path, tmp_path / "b" / "tiny"))
    process = score(alone.path, f"--kernel={kernel}")
    assert process.wait(120) == 0, process.communicate()[1]
    flags = [f"--coordinator=localhost:{free_port()}", "--num_processes=2"]
    flags += [f"--kernel={kernel}"]
    processes = [score(shared, *flags, f"--process_id={i}") for i in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert [b"expertise:" in output for output, _ in outputs] == [True, False]
    wanted, got = files(alone.path), files(shared)
    assert wanted.keys() == got.keys()
    assert [name for name in wanted if wanted[name] != got[name]] == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num_processes=2"], b"needs --coordinator"),
        (["--coordinator=localhost:1", "--process_id=1"], b"expected 0 to 0"),
    ],
)
def test_processes_that_do_not_fit_are_refused(
    tmp_path: Path, flags: list[str], message: bytes
) -> None:
    process = score(tmp_path, *flags)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and message in error
