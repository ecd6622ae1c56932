"""Every path flag knows the home folder, and outputs are tried before the work."""

import shutil
import xml.etree.ElementTree
from pathlib import Path

import pandas as pd
import pytest

from tests.binaries.conftest import Found
from tests.data import REPOSITORY
from tests.programs import run_program

PROGRAMS = sorted(
    path.stem
    for path in (REPOSITORY / "binaries").glob("*.py")
    if "run_main(main" in path.read_text("utf-8")
)
# Flags that are texts and no paths.
TEXTS = {
    *("model_name", "sites", "mesh", "shard_models", "coordinator", "metrics"),
    *("concept", "prompt", "value", "words", "num_units", "roots", "kinds", "parts"),
    *("l2", "sizes", "keep_steps", "precision", "ignore_config", "ways", "host"),
    *("model_id", "source_set", "release", "creator", "creator_id"),
}
# Program -> flags that do not matter, as the output is refused before they are used.
WRITES = {
    "find_experts": ("model=none", "concepts=none"),
    "capture_responses": ("model=none", "concepts=none"),
    "score_experts": ("responses=none",),
    "analyze_experts": ("results=none",),
    "build_concepts": ("input=none",),
    "convert_checkpoint": ("model=none",),
    "export_expertise": ("results=none",),
    "generate_text": ("model=none",),
    "import_expertise": ("results=none",),
    "measure_parity": ("model=none", "expertise=none", "concept=a", "words=b"),
    "probe_models": ("model=none", "tasks=none"),
    "train_lm": ("text=none",),
}


def flag_types(program: str) -> dict[str, str]:
    """The program's own flags, and what each takes."""
    shown = run_program(program, "--helpxml", status=1)
    flags = xml.etree.ElementTree.fromstring(shown).iter("flag")
    return {
        flag.findtext("name", ""): flag.findtext("type", "")
        for flag in flags
        if flag.findtext("key") == "yes"
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_flag_that_may_be_a_path_is_one(program: str):
    types = flag_types(program)
    texts = {name for name, kind in types.items() if kind.endswith("string")}
    assert texts <= TEXTS
    assert any(kind.endswith("path") for kind in types.values())


def test_every_program_that_writes_is_tried():
    assert set(PROGRAMS) - set(WRITES) == {"benchmark", "studio"}


@pytest.mark.parametrize("program", WRITES)
def test_an_output_is_tried_before_the_work(program: str, tmp_path: Path):
    """Else what is said first would be that the inputs are not there."""
    (tmp_path / "file").write_text("precious")
    out = tmp_path / "file" / "out"
    given = [f"--{flag}" for flag in WRITES[program]]
    said = run_program(program, *given, out=out, status=1)
    assert f"error: --out={out}: cannot be written (Not a directory)" in said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("flag", ["out", "figure", "report", "save_edit"])
def test_files_are_tried_too_and_leave_nothing(flag: str, tmp_path: Path):
    place = tmp_path / "there.png"
    place.mkdir()
    said = run_program("generate_text", model="none", **{flag: place}, status=1)
    assert f"error: --{flag}={place}: is a folder; expected the name of a file" in said
    place.rmdir()
    said = run_program("generate_text", model="none", **{flag: place}, status=1)
    assert "--model" in said and not list(tmp_path.iterdir())


def test_a_figure_of_no_known_kind_is_refused_at_once(tmp_path: Path):
    said = run_program(
        "generate_text", model="none", figure=tmp_path / "a.figure", status=1
    )
    assert "expected .png, .svg or .pdf" in said


def test_the_home_folder_in_every_kind_of_path(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(str(found.flags["concepts"]), tmp_path / "concepts")
    shutil.copytree(found.folder, tmp_path / "out" / "tiny")
    (tmp_path / "tiny").symlink_to(str(found.flags["model"]))
    flags = {"model": "~/tiny", "expertise": "~/out/tiny", "out": "~/new/texts.csv"}
    flags |= {"figure": "~/new/k.svg", "save_edit": "~/new/edit.json"}
    flags |= {"concept": "भाषा/ไทย", "num_units": "0,3", "max_new_tokens": 3}
    run_program("generate_text", **flags)
    flags |= {"load_edit": "~/new/edit.json", "out": "~/new/again.csv"}
    run_program("generate_text", **flags)
    names = {"texts.csv", "texts.control.csv", "k.svg", "edit.json", "again.csv"}
    assert {path.name for path in (tmp_path / "new").iterdir()} == names
    first, again = (
        pd.read_csv(tmp_path / "new" / f"{n}.csv") for n in ("texts", "again")
    )
    assert first["sentence"].iloc[-1] == again["sentence"].iloc[0]
    flags = {"model": "~/tiny", "tasks": "~/concepts", "out": "~/probes", "seq_len": 40}
    run_program("probe_models", **flags, compile_cache="~/compiled")
    assert (tmp_path / "probes" / "models.csv").is_file()
    assert list((tmp_path / "compiled").iterdir())
    assert not (REPOSITORY / "~").exists()


def test_a_home_folder_that_is_nobodys_is_refused(tmp_path: Path):
    flags = {"model": "none", "concepts": "none", "out": "~nobody-at-all/out"}
    said = run_program("find_experts", **flags, status=2)
    assert (
        "error: flag --out=~nobody-at-all/out: ~nobody-at-all/out: there is no" in said
    )
