import dataclasses
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from expertjax.checkpoints.load import load_model
from expertjax.checkpoints.series import expand
from expertjax.errors import InputError
from expertjax.training.data import split_lines
from expertjax.training.ladder import train_ladder
from expertjax.training.loop import train
from tests.training.test_loop import LINES, SETTINGS

SHORT = dataclasses.replace(SETTINGS, epochs=0.5)
SIZES = ["1x16x2", "2x32x2"]


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sizes, each kept untrained, after 3 steps and at the end."""
    out = tmp_path_factory.mktemp("trained") / "ladder"
    train_ladder(LINES, out, SHORT, SIZES, [3, 0])
    return out


def test_each_size_is_a_series_of_ordinary_models(ladder: Path):
    members = [member for size in SIZES for member in expand(str(ladder / size))]
    assert [m.name for m in members] == [f"{s}-{n}" for s in SIZES for n in (0, 3, 7)]
    widths = [load_model(str(m.path)).config.width for m in members]
    assert widths == [16] * 3 + [32] * 3


def test_what_is_kept_is_the_run_at_that_step(ladder: Path, tmp_path: Path):
    whole = dataclasses.replace(SHORT, num_layers=2, width=32, num_heads=2)
    train(LINES, tmp_path / "plain", whole)
    plain = load_file(tmp_path / "plain" / "model.safetensors")
    last, early, first = (
        load_file(ladder / "2x32x2" / f"step-{n}" / "model.safetensors")
        for n in (7, 3, 0)
    )
    key = "transformer.h.0.mlp.c_fc.weight"
    np.testing.assert_array_equal(last[key], plain[key])
    moved = [np.abs(w[key] - first[key]).max() for w in (early, last)]
    assert 0 < moved[0] < moved[1]


def test_held_out_lines_stand_beside_the_models(ladder: Path):
    _, heldout = split_lines(LINES, SHORT.heldout_share)
    assert (ladder / "1x16x2" / "heldout.txt").read_text().splitlines() == heldout


@pytest.mark.parametrize(
    ("sizes", "steps", "expected"),
    [
        (["2x32"], [], "--sizes=2x32: expected layers x width x heads"),
        (["1x16x2", "1x16x2"], [], "given twice"),
        (["1x16x3"], [], "--width=16 is not a multiple"),
        (["1x16x2"], [8], "--keep_steps=8: the run has steps 0 to 7"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    tmp_path: Path, sizes: list[str], steps: list[int], expected: str
):
    with pytest.raises(InputError, match=expected):
        train_ladder(LINES, tmp_path / "out", SHORT, sizes, steps)
    assert not (tmp_path / "out").exists()
