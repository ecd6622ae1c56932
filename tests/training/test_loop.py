import csv
import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import load_model
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from expertjax.training.data import PackedLines, split_lines
from expertjax.training.loop import train
from expertjax.training.settings import TrainSettings
from tests import bounds
from tests.torch_reference import load_torch

SETTINGS = TrainSettings(
    vocab_size=300,
    width=32,
    num_layers=2,
    num_heads=2,
    seq_len=24,
    batch_size=8,
    epochs=2.1,
    learning_rate=1e-2,
    heldout_share=0.15,
    eval_every=12,
)


def make_lines() -> list[str]:
    """Sentences of a grammar that a bigram model knows only half of."""
    random = np.random.default_rng(0)
    birds, things = ["crow", "rook", "jay", "daw"], ["lamp", "door", "wall", "roof"]
    lines = []
    for _ in range(300):
        number = random.integers(4)
        words = ["the", birds[number], "sees", "a", things[number], "and", "not"]
        lines.append(" ".join([*words, "a", things[number - 1], str(len(lines))]))
    return lines


LINES = make_lines()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of some thirty steps. Do not change it."""
    out = tmp_path_factory.mktemp("trained") / "tiny-lm"
    train(LINES, out, SETTINGS)
    return out


def metrics_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text())


def test_a_short_run_learns_more_than_counting_would(trained: Path):
    metrics = metrics_of(trained)
    assert 25 <= metrics["steps"] <= 40
    assert metrics["heldout_perplexity"] < 0.7 * metrics["unigram_perplexity"]
    assert metrics["heldout_lines"] + metrics["train_lines"] == len(set(LINES))
    assert metrics["settings"] == dataclasses.asdict(SETTINGS)


def test_the_log_ends_with_the_loss_of_the_result(trained: Path):
    rows = list(csv.DictReader((trained / "train_log.csv").open()))
    metrics = metrics_of(trained)
    assert [int(row["step"]) for row in rows] == [12, 24, metrics["steps"]]
    assert int(rows[-1]["tokens"]) == metrics["steps"] * 8 * 24
    losses = [float(row["heldout_loss"]) for row in rows]
    assert losses[0] > losses[1] > losses[-1]
    final = math.exp(losses[-1])
    assert final == pytest.approx(metrics["heldout_perplexity"], rel=1e-4)
    assert (trained / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_torch_computes_the_same_logits_and_the_same_perplexity(trained: Path):
    torch = pytest.importorskip("torch")
    ours, theirs = load_model(str(trained)), load_torch(trained, "GPT2LMHeadModel")
    _, heldout = split_lines(LINES, SETTINGS.heldout_share)
    ids = [ours.tokenizer(line).input_ids for line in heldout]
    rows = PackedLines(ids, ours.tokenizer.eos_token_id, SETTINGS.seq_len).epoch(0)
    inputs = rows[:, :-1]
    with torch.no_grad():
        wanted = theirs(torch.tensor(inputs, dtype=torch.long)).logits
        targets = torch.tensor(rows[:, 1:], dtype=torch.long)
        loss = torch.nn.functional.cross_entropy(wanted.mT, targets)
    module: Any = nnx.merge(ours.graphdef, ours.params)
    hidden = module(Inputs.of(inputs, np.ones(inputs.shape, int))).hidden
    logits = np.asarray(module.logits(hidden))
    bounds.assert_outputs(logits, wanted.numpy(), bounds.of_model(ours))
    # The weights were rounded to float16 after they had been evaluated.
    perplexity = metrics_of(trained)["heldout_perplexity"]
    assert math.exp(float(loss)) == pytest.approx(perplexity, rel=5e-3)


def test_a_run_that_was_cut_short_ends_in_the_same_bytes(trained: Path, tmp_path: Path):
    cut = Path(shutil.copytree(trained, tmp_path / trained.name))
    steps = sorted(int(path.name) for path in (cut / "checkpoints").iterdir())
    assert steps[0] == 24 < steps[1]  # an epoch ends in between
    shutil.rmtree(cut / "checkpoints" / str(steps[-1]))
    log = (cut / "train_log.csv").read_bytes().splitlines(keepends=True)
    (cut / "train_log.csv").write_bytes(b"".join(log[:-1]))
    for name in ("model.safetensors", "metrics.json", "config.json", "loss.png"):
        (cut / name).unlink()
    train(LINES, cut, SETTINGS)
    for name in ("model.safetensors", "metrics.json", "config.json", "train_log.csv"):
        assert (cut / name).read_bytes() == (trained / name).read_bytes(), name


def test_a_folder_of_other_settings_or_other_text_is_refused(trained: Path):
    weights = (trained / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"train\.json.*choose another --out"):
        train(LINES, trained, dataclasses.replace(SETTINGS, epochs=9.0))
    with pytest.raises(InputError, match=r"train\.json.*choose another --out"):
        train(LINES[::-1], trained, SETTINGS)  # as many tokens as before
    assert (trained / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "too little text"),
        (["one line"], "too little text"),
        (LINES[:12], "held-out lines do not fill one row"),
        (LINES[:60], "not enough text for one batch"),
    ],
)
def test_too_little_text_is_refused(tmp_path: Path, lines: list[str], expected: str):
    large = dataclasses.replace(SETTINGS, batch_size=1000)
    with pytest.raises(InputError, match=f"--text: .*{expected}"):
        train(lines, tmp_path / "out", large)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", 100), ("seq_len", 0), ("epochs", -1.0), ("learning_rate", 0.0)],
)
def test_a_bad_value_names_its_flag(name: str, value: Any):
    with pytest.raises(InputError, match=f"--{name}"):
        TrainSettings(**{name: value})
