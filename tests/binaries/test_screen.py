"""Whatever the screen is, programs do their work and write their files first."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.binaries.conftest import Found
from tests.data import REPOSITORY
from tests.programs import environment

PROMPT = "ナ músic"  # in no encoding but UTF-8
# A locale whose files are not named in UTF-8, where Python would go by it.
ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def generate(found: Found, out: Path, *args: str) -> list[str]:
    flags = {"model": found.flags["model"], "out": out, "max_new_tokens": 12}
    given = [f"--{name}={value}" for name, value in flags.items()]
    return [sys.executable, "-m", "binaries.generate_text", *given, *args]


def call(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    variables = environment() | options.pop("env", {})
    return subprocess.run(
        command, cwd=REPOSITORY, env=variables, timeout=120, text=True, **options
    )


@pytest.mark.parametrize(
    "screen", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}]
)
def test_what_the_screen_cannot_show_is_replaced(
    found: Found, tmp_path: Path, screen: dict[str, str]
):
    out = tmp_path / "texts.csv"
    command = generate(found, out, f"--prompt={PROMPT}", "--num_samples=2")
    done = call(command, env=screen, capture_output=True, encoding="latin-1")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "? m" in done.stdout
    assert list(pd.read_csv(out)["context"]) == [PROMPT] * 2


def test_files_are_utf8_whatever_the_locale(found: Found, tmp_path: Path):
    """Concept files, their names, arguments, flagfiles and what is written."""
    flagfile = tmp_path / "ナ.flags"
    flagfile.write_text(f"--prompt={PROMPT}\n", "utf-8")
    out = tmp_path / "ナ" / "texts.csv"
    command = generate(found, out, f"--flagfile={flagfile}", "--prompt=música")
    done = call(command, env=ASCII_LOCALE, capture_output=True, encoding="latin-1")
    assert done.returncode == 0, done.stderr
    assert "m?sica" in done.stdout
    assert list(pd.read_csv(out)["context"]) == [PROMPT, "música"]
    flags = found.flags | {"out": tmp_path / "ナ"}
    command = [sys.executable, "-m", "binaries.capture_responses"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    done = call(command, env=ASCII_LOCALE, capture_output=True, encoding="latin-1")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "ナ" / found.folder.name
    for name in ("memberships.parquet", "sentences.parquet"):
        assert (folder / name).read_bytes() == (found.folder / name).read_bytes()


def test_text_that_is_not_utf8_is_refused(found: Found, tmp_path: Path):
    command = [os.fsencode(part) for part in generate(found, tmp_path / "texts.csv")]
    done = call([*command, b"--prompt=m\xfasica"], capture_output=True)
    assert done.returncode == 2
    assert "error: --prompt='m\\udcfasica': expected text in UTF-8" in done.stderr


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("num_samples", [1, 3])  # one is shown as it is written
def test_a_closed_pipe_ends_quietly_with_the_files(
    found: Found, tmp_path: Path, num_samples: int, both: bool
):
    out = tmp_path / "texts.csv"
    command = generate(found, out, f"--num_samples={num_samples}")
    readable, writable = os.pipe()
    os.close(readable)  # as of `| head` once it has enough
    errors = writable if both else subprocess.PIPE
    done = call(command, stdout=writable, stderr=errors)
    os.close(writable)
    assert done.returncode == 0
    assert both or "Error" not in done.stderr
    assert len(pd.read_csv(out)) == num_samples


def test_no_screen_at_all(found: Found, tmp_path: Path):
    command = generate(found, tmp_path / "texts.csv", "--num_samples=2")
    closed = ["bash", "-c", 'exec "$@" >&- 2>&-', "-", *command]
    assert call(closed).returncode == 0
    assert len(pd.read_csv(tmp_path / "texts.csv")) == 2
