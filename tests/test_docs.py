"""The snippets of the guides run on a result, and their commands have these flags."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import expertjax as ej
from expertjax.capturing.writes import write_writes
from expertjax.checkpoints.load import Model
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set
from tests.data import REPOSITORY

DOCS = sorted((REPOSITORY / "expertjax" / "docs").glob("*.md"))
# Their snippets read the quickstart's result; those of others: test_guides.py.
ON_A_RESULT = [path for path in DOCS if path.stem in ("coming_from", "reading_results")]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text("utf-8"), re.S)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def workplace(
    request: pytest.FixtureRequest,
    tiny_gpt2: Model,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with a small result in the place of the quickstart's."""
    folder = tmp_path_factory.mktemp("docs")
    place = folder / "out" / "quickstart" / "gpt2_wordnet"
    settings = ej.CaptureSettings(seq_len=SEQ_LEN, store_dtype=request.param)
    responses = ej.capture(tiny_gpt2, tiny_concept_set(), place, settings)
    scored = ej.score(responses).folder
    write_writes(scored, tiny_gpt2)
    scored.succeed()
    return folder


@pytest.mark.parametrize("path", ON_A_RESULT, ids=lambda path: path.stem)
def test_the_snippets_run(
    path: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a guide, one after the other, as a reader would."""
    for package in ("sklearn", "xarray", "zarr"):
        pytest.importorskip(package)
    monkeypatch.chdir(workplace)
    namespace: dict[str, object] = {}
    code = blocks(path, "python")
    assert code
    for number, block in enumerate(code):
        exec(compile(block, f"{path.name}, snippet {number + 1}", "exec"), namespace)


def test_the_edit_of_top_and_bottom_units_has_both(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    (block,) = blocks(REPOSITORY / "expertjax" / "docs" / "coming_from.md", "python")
    exec(block, {})
    edit = ej.UnitEdit.load(workplace / "both.json")
    units = set(zip(edit.site, edit.layer, edit.index, strict=True))
    assert len(edit) == len(units) == 200


def commands(path: Path) -> dict[str, set[str]]:
    """Program -> its flags, of the commands and the table of a guide."""
    found: dict[str, set[str]] = {}
    text = path.read_text("utf-8")
    whole = [block.replace("\\\n", " ") for block in blocks(path, "bash")]
    lines = [line for block in whole for line in block.splitlines() if line.strip()]
    lines += re.findall(r"`((?:capture|score|find|generate|measure)_\w+ --.*?)`", text)
    for line in lines:
        words = shlex.split(line.replace("python -m binaries.", ""))
        if (REPOSITORY / "binaries" / f"{words[0]}.py").is_file():
            flags = {w[2:].partition("=")[0] for w in words if w.startswith("--")}
            found[words[0]] = found.get(words[0], set()) | flags
    return found


COMMANDS = sorted({name for path in DOCS for name in commands(path)})


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_have_these_flags(name: str) -> None:
    said = subprocess.run(
        [sys.executable, "-m", f"binaries.{name}", "--helpfull"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    ).stdout
    there = set(re.findall(r"^ +--(?:\[no\])?(\w+)", said, re.M))
    used = {flag for path in DOCS for flag in commands(path).get(name, ())}
    assert used and used <= there, used - there
