"""Running the programs as a user does: several at a time, stopped and killed."""

import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.data import REPOSITORY
from tests.program_server import Server

STOPPED = 75


def start(program: str, *args: str, **flags: Any) -> subprocess.Popen[str]:
    """Starts one of `binaries`, with one device, as most machines have.

    Args:
      program: its name.
      *args: given as they are.
      **flags: become `--name=value`.
    """
    command = [sys.executable, "-m", f"binaries.{program}", *args]
    command += [f"--{name}={value}" for name, value in flags.items()]
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def environment() -> dict[str, str]:
    """The variables of a program that runs on one device, offline, compiled as here."""
    variables = dict(os.environ, JAX_PLATFORMS="cpu", HF_HUB_OFFLINE="1")
    variables.pop("PYTEST_CURRENT_TEST", None)
    flags = os.environ["XLA_FLAGS"].split()
    variables["XLA_FLAGS"] = " ".join(f for f in flags if "device_count" not in f)
    return variables


def start_job(
    program: str, *args: str, count: int = 2, **flags: Any
) -> list[subprocess.Popen[str]]:
    """Starts the processes of one job."""
    coordinator = f"localhost:{free_port()}"
    return [
        start(
            program,
            *args,
            coordinator=coordinator,
            num_processes=count,
            process_id=i,
            **flags,
        )
        for i in range(count)
    ]


def finish(*processes: subprocess.Popen[str], status: int = 0) -> list[str]:
    """Waits for all; each has to end with a status. Returns what they say."""
    said = ["".join(process.communicate(timeout=120)) for process in processes]
    assert [process.returncode for process in processes] == [status] * len(said), said
    return said


def run_program(program: str, *args: Any, status: int = 0, **flags: Any) -> str:
    """Runs one of `binaries` to its end, sooner than `start` and `finish`.

    Args:
      program: its name.
      *args: given as they are.
      status: with which it has to end.
      **flags: become `--name=value`.

    Returns:
      what it says.
    """
    args = *args, *(f"--{name}={value}" for name, value in flags.items())
    done = try_program(program, args)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def try_program(
    program: str, args: Sequence[Any], file_limit: int | None = None
) -> "subprocess.CompletedProcess[str]":
    """The same with whatever status; see `program_server.Server.run`."""
    return _server(tuple(sorted(environment().items()))).run(program, args, file_limit)


@functools.lru_cache(maxsize=1)
def _server(variables: tuple[tuple[str, str], ...]) -> Server:
    """Another one where a test has changed the environment."""
    return Server(dict(variables))


def wait_for(
    condition: Callable[[], bool], processes: Sequence[subprocess.Popen[str]]
) -> None:
    """Waits until something holds, while all processes run."""
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def kill(process: subprocess.Popen[str]) -> None:
    """Ends it at once, wherever it is."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def marks(folder: Path, store: str) -> list[int]:
    """The finished blocks of a store of a result folder."""
    ledger = folder / ".blocks" / store
    return sorted(int(path.stem) for path in ledger.glob("0*.json"))


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    """Every file below a folder, or those of some patterns."""
    paths = {p for pattern in patterns or ("**/*",) for p in folder.glob(pattern)}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(paths)
        if path.is_file()
    }


def results(folder: Path) -> dict[str, bytes]:
    """What a user reads. A kill may leave temporary files among the ledgers."""
    return contents(folder, "*.parquet", "*.zarr/**/*", "run.json", "report/*")


def assert_same(there: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    """The same files with the same bytes; says which differ."""
    assert there.keys() == wanted.keys()
    assert [name for name in wanted if wanted[name] != there[name]] == []


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]
