"""A run says how it was computed, and is computed as it says."""

import dataclasses
from pathlib import Path

import pytest

from expertjax.capturing.capture import capture
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model, load_model
from expertjax.errors import InputError
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set


def test_a_run_is_computed_as_the_model_was_loaded(
    tiny_gpt2_folder: Path, tmp_path: Path
) -> None:
    rough = load_model(str(tiny_gpt2_folder), precision="bfloat16_3x")
    settings = dataclasses.replace(CaptureSettings.of(rough), seq_len=SEQ_LEN)
    folder = capture(rough, tiny_concept_set(), tmp_path / "rough", settings)
    run = folder.read_run()["capture"]
    assert run["precision"] == "bfloat16_3x"
    assert run["compute_dtype"] == "float32"


@pytest.mark.parametrize(
    ("flag", "value"), [("precision", "tensorfloat32"), ("compute_dtype", "bfloat16")]
)
def test_settings_that_are_not_the_models_are_refused(
    tiny_gpt2: Model, tmp_path: Path, flag: str, value: str
) -> None:
    settings = CaptureSettings(seq_len=SEQ_LEN, **{flag: value})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"--{flag}={value}.*load_model"):
        capture(tiny_gpt2, tiny_concept_set(), tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_an_unknown_precision_is_refused(tiny_gpt2_folder: Path) -> None:
    with pytest.raises(
        InputError, match="--precision=float64: expected one of float32"
    ):
        load_model(str(tiny_gpt2_folder), precision="float64")  # type: ignore[arg-type]
