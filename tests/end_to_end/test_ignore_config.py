"""`--ignore_config`: what a refusal offers, and that it is on record."""

import json
from pathlib import Path

import pytest

from tests.capturing.tiny_concepts import SEQ_LEN, write_tiny_concepts
from tests.programs import run_program
from tests.tiny_models import make_tiny_gpt2


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A GPT-2 whose config has two attributes that nobody knows."""
    folder = make_tiny_gpt2(tmp_path / "odd")
    path = folder / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"foo": [1, 2], "bar": "x"}))
    return folder


def test_a_refused_attribute_can_be_passed_over(odd: Path, tmp_path: Path) -> None:
    flags = {"model": odd, "out": tmp_path / "out", "seq_len": SEQ_LEN}
    flags["concepts"] = write_tiny_concepts(tmp_path / "concepts")
    said = run_program("capture_responses", "--ignore_config=foo", **flags, status=1)
    assert "bar='x' is not known" in said and "foo" not in said
    assert "--ignore_config=NAME" in said
    names = ["--ignore_config=foo", "--ignore_config=bar"]
    run_program("capture_responses", *names, **flags)
    run = json.loads((tmp_path / "out" / "odd" / "run.json").read_text())
    assert run["capture"]["ignored_config"] == {"foo": [1, 2], "bar": "x"}


def test_what_was_passed_over_goes_with_the_converted_form(
    odd: Path, tmp_path: Path
) -> None:
    from expertjax.checkpoints.load import load_model

    there = tmp_path / "converted"
    names = ["--ignore_config=foo", "--ignore_config=bar"]
    run_program("convert_checkpoint", *names, model=odd, out=there)
    model = load_model(str(there))
    assert model.ignored_config == {"foo": [1, 2], "bar": "x"}
    assert "foo" not in model.attributes
