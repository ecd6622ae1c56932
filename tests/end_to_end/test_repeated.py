"""Sentences that a concept repeats: count once, or are refused, or as the reference."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from expertjax.concepts.files import Concept
from tests.capturing.tiny_concepts import SEQ_LEN, random_sentences, write_tiny_concepts
from tests.programs import finish, start

TEXTS = [t for t in random_sentences(200, seed=3) if t.count(" ") < 6][:63]
ONCE = Concept("mine", "once", tuple(TEXTS[:3]), tuple(TEXTS[3:]))
MANY = dataclasses.replace(ONCE, name="many", positives=ONCE.positives * 20)


def write(folder: Path, *concepts: Concept, negative: str = "") -> Path:
    """A concept folder; the last concept may have a further negative."""
    write_tiny_concepts(folder, concepts)
    if negative:
        path = folder / f"{concepts[-1].key}.json"
        content = json.loads(path.read_text("utf-8"))
        content["sentences"]["negative"].append(negative)
        path.write_text(json.dumps(content), "utf-8")
    return folder


def find(model: Path, folder: Path, **flags: Any) -> Any:
    return start(
        "find_experts",
        model=model,
        concepts=folder / "concepts",
        out=folder / "out",
        seq_len=SEQ_LEN,
        report=False,
        **flags,
    )


def result(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    (place,) = (folder / "out").iterdir()
    table = pd.read_parquet(place / "concepts.parquet").set_index("concept")
    return table, json.loads((place / "run.json").read_text())["capture"]


def test_repeated_sentences_change_nothing(tiny_gpt2_folder, tmp_path: Path) -> None:
    write(tmp_path / "concepts", ONCE, MANY)
    (said,) = finish(find(tiny_gpt2_folder, tmp_path, holdout=0.4, bootstrap_top=2))
    assert "57 sentence(s) are listed more than once by their concept" in said
    assert "mine/many 57" in said
    table, run = result(tmp_path)
    assert run["num_repeated"] == 57
    once, many = (table.loc[f"mine/{name}"].drop("group") for name in ("once", "many"))
    assert many["n_pos"] + many["n_neg"] == 63 - 1 - 24  # held out: 1 and 24
    columns = ["n_pos", "n_neg", "chance", "null_threshold"]
    assert list(many[columns]) == list(once[columns])
    members = pd.read_parquet(
        next((tmp_path / "out").iterdir()) / "memberships.parquet"
    )
    assert not members.duplicated(["concept", "sentence"]).any()


@pytest.mark.parametrize("negative", ["{}", "  {}", "{}\n"])
def test_a_contradiction_is_refused_before_any_model(
    tiny_gpt2_folder, tmp_path: Path, negative: str
) -> None:
    text = ONCE.positives[1]
    write(tmp_path / "concepts", MANY, ONCE, negative=negative.format(text))
    (said,) = finish(find(tiny_gpt2_folder, tmp_path), status=1)
    assert f"mine/once: {text!r} is listed as positive and as negative" in said
    assert not (tmp_path / "out").exists()


def test_the_reference_counts_what_is_listed(tiny_gpt2_folder, tmp_path: Path) -> None:
    both = dataclasses.replace(MANY, name="both")
    write(tmp_path / "concepts", MANY, both, negative=ONCE.positives[0])
    (said,) = finish(find(tiny_gpt2_folder, tmp_path, compat="selfcond"))
    assert "1 sentence(s) are positive and negative of one concept" in said
    table, run = result(tmp_path)
    assert "num_repeated" not in run
    assert list(table.loc["mine/many", ["n_pos", "n_neg"]]) == [60, 60]
    assert list(table.loc["mine/both", ["n_pos", "n_neg"]]) == [60, 61]
