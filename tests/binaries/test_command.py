"""`expertjax COMMAND`: every program under one name, from any folder."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from binaries.command import COMMANDS
from tests.capturing.tiny_concepts import SEQ_LEN, write_tiny_concepts
from tests.data import REPOSITORY
from tests.programs import environment


def say(*args: object, cwd: Path = REPOSITORY, status: int = 0) -> str:
    command = [sys.executable, "-m", "binaries.command", *map(str, args)]
    done = subprocess.run(
        command, cwd=cwd, env=environment(), text=True, capture_output=True
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_every_program_has_a_command():
    programs = {program for program, *_ in COMMANDS.values()}
    written = {
        path.stem
        for path in (REPOSITORY / "binaries").glob("*.py")
        if "run_main(" in path.read_text("utf-8") and path.stem != "run_main"
    }
    assert programs == written


@pytest.mark.parametrize("args", [(), ("--help",), ("help",)])
def test_help_lists_them_in_80_columns(args: tuple[str, ...]):
    said = say(*args)
    assert re.findall(r"^  ([a-z-]+)  ", said, re.M) == list(COMMANDS)
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("scores", "did you mean score?"),
        ("generate_text", "did you mean steer?"),
        ("zzz", "see expertjax --help"),
    ],
)
def test_another_is_refused_with_a_hint(command: str, hint: str):
    assert say(command, status=2) == f"error: {command}: no such command; {hint}\n"


def test_the_quick_start_is_that_of_the_flagfile():
    given = (REPOSITORY / "configs" / "quickstart.flags").read_text("utf-8")
    flags = [line for line in given.splitlines() if line.startswith("--")]
    program, _, first = COMMANDS["quickstart"]
    assert program == "find_experts"
    assert [flag.replace(f"{REPOSITORY}/", "") for flag in first] == flags


def test_help_of_a_command_calls_it_as_it_was_called():
    said = say("steer", "--help")
    assert "  expertjax steer --model=FOLDER" in said and "python -m" not in said
    assert say("steer", status=2) == (
        "error: --model is missing\n"
        "usage: expertjax steer --model=PATH ...\n"
        "expertjax steer --help shows every flag\n"
    )


def test_it_takes_the_flags_of_the_program(tiny_gpt2_folder: Path, tmp_path: Path):
    write_tiny_concepts(tmp_path / "concepts")
    flags = [f"--model={tiny_gpt2_folder}", "--concepts=concepts", "--out=out"]
    say("find", *flags, f"--seq_len={SEQ_LEN}", cwd=tmp_path)
    result = tmp_path / "out" / tiny_gpt2_folder.name
    assert (result / "_SUCCESS").is_file() and (result / "report").is_dir()
    assert "error: " in say("find", *flags, "--seq_len=0", cwd=tmp_path, status=1)


def copy_source(source: Path) -> None:
    """What belongs to the project, as a clone has it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("no git, which says what belongs to the project")
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((REPOSITORY / name).read_bytes())


def test_a_clone_called_as_the_package_does_not_hide_it(tmp_path: Path):
    """From the folder that it lies in, after `pip install -e`."""
    pytest.importorskip("setuptools")
    clone, site = tmp_path / "expertjax", tmp_path / "site"
    copy_source(clone)
    code = "from setuptools import build_meta; build_meta.build_editable('..')"
    subprocess.run([sys.executable, "-c", code], cwd=clone, check=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = f"import site; site.addsitedir({str(site)!r}); import expertjax as ej\n"
    code += "print(ej.__file__)"
    # Without the packages of this environment, which has expertjax too.
    command = [sys.executable, "-S", "-c", code]
    found = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert found.stdout.strip() == str(clone / "expertjax" / "__init__.py")


def test_a_wheel_has_all_that_the_quick_start_needs(tmp_path: Path):
    """Built and unpacked elsewhere, and run from an empty folder."""
    source = tmp_path / "source"
    copy_source(source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet"]
    build += ["--no-build-isolation", "--wheel-dir", tmp_path / "wheel", source]
    done = subprocess.run(build, capture_output=True, text=True)
    if "No module named 'setuptools'" in done.stderr + done.stdout:
        pytest.skip("setuptools is not installed: a wheel cannot be built")
    assert done.returncode == 0, done.stderr
    [wheel] = (tmp_path / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    [script] = (tmp_path / "installed").glob("*.dist-info/entry_points.txt")
    assert "expertjax = binaries.command:main" in script.read_text("utf-8")
    work = tmp_path / "work"
    work.mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r})\n"
        "import expertjax, binaries.benchmarks; print(expertjax.__file__)\n"
        "from binaries.command import main\n"
        "main(['quickstart', '--num_per_concept=2', '--sites=h.0.mlp.c_fc'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=work,
        env=environment(),
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    report = work / "out" / "quickstart" / "gpt2_wordnet" / "report" / "index.html"
    assert report.is_file()
    assert str(tmp_path / "installed" / "expertjax") in done.stdout
