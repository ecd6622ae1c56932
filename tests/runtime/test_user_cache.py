"""The user's cache folder; installations that their user cannot write to."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from expertjax.runtime.user_cache import user_cache
from tests.data import REPOSITORY
from tests.programs import environment

_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1


def test_it_is_where_the_system_keeps_such_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert user_cache("numba") == tmp_path / "caches" / "expertjax" / "numba"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_cache("numba") == tmp_path / "home" / ".cache" / "expertjax" / "numba"


def test_there_may_be_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/none")
    assert user_cache("numba") is None


@pytest.fixture
def installed() -> Iterator[Path]:
    """The package where all may read and its user may not write."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    for name in ("expertjax", "binaries"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    subprocess.run(["chmod", "-R", "a+rX,a-w", folder], check=True)
    (folder / "work").mkdir()
    (folder / "work").chmod(0o777)
    yield folder
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    shutil.rmtree(folder)


def obey_permissions() -> None:
    """Lets the program that comes next write only where it may, if it is root's."""
    if os.geteuid() == 0:
        done = ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)
        assert done == 0


def test_permissions_are_obeyed(installed: Path):
    """Else the next test would show nothing."""
    done = subprocess.run(
        ["touch", installed / "expertjax" / "new"],
        preexec_fn=obey_permissions,
        capture_output=True,
    )
    assert done.returncode


def test_a_user_without_a_home_on_an_installation_of_another(installed: Path):
    """As in a container with `--user` and a read-only image."""
    command = [sys.executable, "-m", "binaries.find_experts", "--seq_len=32"]
    command += ["--flagfile=/dev/null", "--num_per_concept=8"]
    command += ["--model=expertjax/assets/models/gpt2_wordnet"]
    command += ["--concepts=expertjax/assets/concepts/wordnet_topics", "--out=work/out"]
    variables = environment() | {"HOME": "/dev/null/none", "PYTHONPATH": ""}
    for name in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "HF_HOME"):
        variables.pop(name, None)
    done = subprocess.run(
        command,
        cwd=installed,
        env=variables,
        preexec_fn=obey_permissions,
        text=True,
        capture_output=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert (installed / "work" / "out" / "gpt2_wordnet" / "_SUCCESS").is_file()
    assert "Traceback" not in done.stderr and "arning" not in done.stderr
