"""PARITY.md: of all families, and what transformers gets wrong."""

import re
import sys

import pytest

from expertjax.models.registry import FAMILIES
from tests.data import REPOSITORY
from tests.models import parity_table
from tests.models.parity import CASES, OPTIONS

# Folders with one hold images too, and transformers has no class for it alone: see
# tests/checkpoints/test_text_half.py.
WITHOUT_CASES = {"qwen2_5_vl_text"}


def rows(text: str) -> list[str]:
    """The model types that have a row."""
    return re.findall(r"^\| ([\w-]+) \| \d+ \|", text, re.M)


def parity_md() -> str:
    return (REPOSITORY / "expertjax" / "models" / "PARITY.md").read_text("utf-8")


def test_every_model_type_has_its_row() -> None:
    known = {model_type for family in FAMILIES for model_type in family.model_types}
    found = rows(parity_md())
    missing = "python -m tests.models.parity prints them"
    assert set(found) == known - WITHOUT_CASES, missing
    assert len(found) == len(set(found))


def test_what_is_run_otherwise_says_what_is_wrong() -> None:
    text = parity_md()
    for name, options in OPTIONS.items():
        assert ("wrong" in options) == bool({"sides", "loading"} & options.keys()), name
        assert options.get("wrong", "") in text, name


def test_the_program_prints_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    name = "falcon-alibi-parallel"
    some = {key: CASES[key] for key in ("bert", name)}
    monkeypatch.setattr(parity_table, "CASES", some)
    monkeypatch.setattr(sys, "argv", ["parity", "falcon"])
    parity_table.main()
    said, progress = capsys.readouterr()
    assert rows(said) == ["falcon"]
    assert progress == f"1/1 {name}\n"
    # Versions of transformers that have it right print none.
    for line in re.findall("^- .*", said, re.M):
        assert line.startswith(f"- {OPTIONS[name]['wrong']}: falcon ")


def test_a_model_type_without_cases_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(parity_table, "CASES", {"bert": CASES["bert"]})
    monkeypatch.setattr(sys, "argv", ["parity", "bert", "brt"])
    with pytest.raises(SystemExit):
        parity_table.main()
    assert "no cases of brt" in capsys.readouterr().err
