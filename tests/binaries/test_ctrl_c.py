"""Ctrl-C at any moment: one line, and the same command goes on."""

import signal
import time
from pathlib import Path

import pytest

from tests.binaries.conftest import Found
from tests.programs import (
    assert_same,
    finish,
    marks,
    results,
    run_program,
    start,
    wait_for,
)

STATUS = 130
LINE = "stopped by Ctrl-C; the same command "


def interrupted(said: str) -> str:
    """What is said besides the progress bar, which may stand there."""
    assert "Traceback" not in said and "Error" not in said, said
    [line] = [line for line in said.splitlines() if "Ctrl-C" in line]
    assert line.startswith(LINE)
    return line.removeprefix(LINE)


def test_a_job_goes_on_to_the_same_bytes(found: Found, tmp_path: Path):
    flags = found.flags | {"out": tmp_path, "block_rows": 8}
    there = tmp_path / found.folder.name
    stops = {
        "start": lambda: True,
        "responses": lambda: bool(marks(there, "responses")),
        "expertise": lambda: (there / ".blocks" / "responses" / "_SUCCESS").is_file(),
    }
    for when, is_there in stops.items():
        process = start("find_experts", **flags)
        wait_for(is_there, [process])
        time.sleep(3 if when == "start" else 0)
        process.send_signal(signal.SIGINT)
        (said,) = finish(process, status=STATUS)
        assert interrupted(said) == "goes on from here"
    run_program("find_experts", **flags)
    there_now = results(there)
    wanted = results(found.folder)
    for files in (there_now, wanted):  # settings, and blocks of another size
        for name in [n for n in files if n == "run.json" or n.startswith("responses")]:
            del files[name]
    assert_same(there_now, wanted)
    hidden = {path.name for path in there.rglob(".*")}
    assert hidden <= {".blocks"}


@pytest.mark.parametrize("program", ["generate_text", "convert_checkpoint"])
def test_what_keeps_nothing_begins_again(found: Found, tmp_path: Path, program: str):
    flags = {"model": found.flags["model"], "out": tmp_path / "there" / "out"}
    more = {"max_new_tokens": 30, "num_samples": 64} if "text" in program else {}
    process = start(program, **flags, **more)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    (said,) = finish(process, status=STATUS)
    assert interrupted(said) == "begins again"
    assert not list(tmp_path.rglob("*out*"))
    run_program(program, **flags, **more)
    assert (tmp_path / "there" / "out").exists()
