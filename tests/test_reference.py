"""The API reference is made without a warning and shows the whole façade."""

import html
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import expertjax
from tests.data import REPOSITORY

GUIDE = REPOSITORY / "expertjax" / "docs" / "index.md"
PACKAGE = REPOSITORY / "expertjax"


# Modules that are part of the façade have a page of their own.
NAMES = [n for n in expertjax.__all__ if not inspect.ismodule(getattr(expertjax, n))]
MODULES = sorted(set(expertjax.__all__) - set(NAMES))


def documented_command() -> str:
    (command,) = re.findall(
        r"```bash\n(python -m pdoc .*?)\n```", GUIDE.read_text(), re.S
    )
    return command


def test_command_names_every_room() -> None:
    groups = re.findall(r"expertjax\.\{(.*?)\}", documented_command())
    named = [name for group in groups for name in group.split(",")]
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    rooms |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert sorted([*named, *MODULES]) == sorted(rooms)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the documented command fills."""
    if importlib.util.find_spec("pdoc") is None:
        pytest.skip("pdoc is not installed: pip install -e '.[test]'")
    out = tmp_path_factory.mktemp("reference") / "api"
    command = documented_command().replace("out/api", str(out))
    command = command.replace("python", sys.executable, 1)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=REPOSITORY,
        env=dict(os.environ, PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower(), done.stderr
    return out


def text_of(page: str) -> str:
    """What a reader sees, in one line."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def section(pages: Path, name: str) -> str:
    """The part of the façade's page about one name, such as Expertise.top."""
    page = (pages / "expertjax.html").read_text("utf-8")
    _, found, rest = page.partition(f' id="{name}"')
    assert found, f"{name} is not in the reference"
    return re.split(r'<(?:section|div) id="', rest)[0].partition(">")[2]


def members_of(name: str) -> list[str]:
    value = getattr(expertjax, name)
    if not inspect.isclass(value) or name == "InputError":
        return []
    return [f"{name}.{own}" for own in dir(value) if not own.startswith("_")]


def test_every_name_has_its_docstring(pages: Path) -> None:
    for name in NAMES:
        shown = text_of(section(pages, name))
        assert '<div class="docstring">' in section(pages, name), name
        value = getattr(expertjax, name)
        if not name.isupper():
            summary = inspect.getdoc(value).split("\n")[0].rstrip(".")
            words = re.findall(r"\w{4,}", summary)
            assert all(word in shown for word in words), (name, summary)


def test_functions_have_types_and_classes_what_they_inherit(pages: Path) -> None:
    for name in NAMES:
        value = getattr(expertjax, name)
        if inspect.isfunction(value):
            shown = text_of(section(pages, name))
            for parameter in inspect.signature(value).parameters:
                assert re.search(rf"\b{parameter} :", shown), (name, parameter)
            assert "->" in shown, name
        for member in members_of(name):
            section(pages, member)
    assert "DataFrame" in text_of(section(pages, "Expertise.top"))


@pytest.mark.parametrize("name", MODULES)
def test_modules_of_the_facade_have_their_functions(pages: Path, name: str) -> None:
    page = (pages / "expertjax" / f"{name}.html").read_text("utf-8")
    for function in getattr(expertjax, name).__all__:
        assert f' id="{function}"' in page, function


def test_pages_tell_no_paths_of_this_machine(pages: Path) -> None:
    for page in pages.rglob("*.html"):
        assert str(REPOSITORY) not in page.read_text("utf-8"), page


def test_docstrings_are_understood_as_they_are_meant(pages: Path) -> None:
    """No sections that were not recognised, no <names> that vanish as tags."""
    allowed = "p ul ol li strong em code pre span a h1 h2 h3 h4 h5 h6 blockquote div"
    for page in pages.rglob("*.html"):
        text = page.read_text("utf-8")
        for docstring in re.findall(r'<div class="docstring">(.*?)</div>', text, re.S):
            tags = set(re.findall(r"<(\w+)", docstring))
            assert tags <= set(allowed.split()), (page.name, tags, docstring)
            assert "Args:" not in docstring, (page.name, docstring)
