"""`--help` of every program, and what is said where required flags are missing."""

import ast
import re
from pathlib import Path

import pytest

from binaries.command import COMMANDS
from tests.data import REPOSITORY
from tests.programs import run_program, try_program

PROGRAMS = sorted({program for program, *_ in COMMANDS.values()})
SHOWN = re.compile(r"^  --(?:\[no\])?(\w+)", re.M)


def flags_read(path: Path) -> set[str]:
    """The names in `FLAGS.name` and `FLAGS["name"]`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute | ast.Subscript):
            if not (isinstance(node.value, ast.Name) and node.value.id == "FLAGS"):
                continue
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node.slice, ast.Constant):
                found.add(node.slice.value)
    return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_flag_stands_in_the_help(program: str):
    said = run_program(program, "--help")
    shown = SHOWN.findall(said)
    assert len(set(shown)) == len(shown)
    # absl's own account of what the program defines.
    by_absl = run_program(program, "--helpshort", status=1)
    assert set(shown) == set(re.findall(r"^  --(?:\[no\])?(\w+):", by_absl, re.M))
    assert flags_read(REPOSITORY / "binaries" / f"{program}.py") <= set(shown)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_fits_a_terminal_and_begins_with_an_example(program: str):
    said = run_program(program, "--help")
    assert max(map(len, said.splitlines())) <= 80
    summary, example, *sections = said.split("\n\n")
    assert summary.endswith(".") and "\n" not in summary
    assert example.startswith(f"  python -m binaries.{program} --")
    assert sections[0].startswith("Required\n  --")
    assert "None" not in said and "repeat this option" not in said


def test_defaults_and_choices_are_shown():
    said = " ".join(run_program("find_experts", "--help").split())
    assert "--seq_len=N The most tokens of a sentence. [128]" in said
    assert "--pooling=max|mean|last How tokens make a response. [max]" in said
    assert "--[no]keep_responses Write responses.zarr?" in said
    assert "--out=PATH Results go to OUT/<model_name>. " in said


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_flags_it_says_which_are_required(program: str):
    done = try_program(program, [])
    assert done.returncode == 2 and done.stdout == ""
    error, usage, hint = done.stderr.splitlines()
    missing = re.findall(r"--\w+", error)
    required = run_program(program, "--help").split("\n\n")[2]
    assert missing == [f"--{name}" for name in SHOWN.findall(required)]
    assert re.fullmatch(r"error: (--\w+(, )?)+ (is|are) missing", error)
    assert usage.startswith(f"usage: python -m binaries.{program} {missing[0]}=")
    assert hint == f"python -m binaries.{program} --help shows every flag"


def test_a_wrong_value_is_named_before_what_is_missing():
    done = try_program("find_experts", ["--seq_len=many"])
    assert done.returncode == 2 and "--seq_len=many" in done.stderr
