"""`excited.parquet`: what is in it, when it is made, and when it is refused."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

import expertjax as ej
from expertjax.capturing import excited
from expertjax.capturing.capture import capture
from expertjax.capturing.excited import write_excited
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model, load_model
from expertjax.errors import InputError, Stopped
from expertjax.runtime import stopping
from expertjax.scoring.score import score
from expertjax.scoring.settings import ScoreSettings
from expertjax.stores.folder import ResultFolder
from tests import bounds
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set, write_tiny_concepts
from tests.programs import contents
from tests.tiny_models import make_tiny_bert, make_tiny_gpt2, word_piece

K = 5
COLUMNS = ["unit", "rank", "sentence", "response", "start", "end", "token"]


def result(model: Model, out: Path, **changes: Any) -> ResultFolder:
    """A scored result of a tiny model."""
    settings = CaptureSettings(**{"seq_len": SEQ_LEN, "block_rows": 16} | changes)
    scoring = ScoreSettings(bootstrap_resamples=20, bootstrap_top=4)
    return score(capture(model, tiny_concept_set(), out, settings), settings=scoring)


@pytest.fixture(scope="module")
def made(tiny_bert: Model, tmp_path_factory: pytest.TempPathFactory) -> ResultFolder:
    """A result with its table. Do not change it."""
    folder = result(tiny_bert, tmp_path_factory.mktemp("made") / "tiny")
    write_excited(folder, tiny_bert, K)
    return folder


def test_the_table_is_that_of_the_responses(made: ResultFolder) -> None:
    table, expertise = made.read_table("excited"), ej.Expertise(made)
    assert list(table) == COLUMNS
    units = np.unique(expertise.intervals["unit"])
    assert list(table["unit"]) == list(np.repeat(units, K))
    for unit, wanted in expertise.most_exciting(units, K).items():
        rows = table[table["unit"] == unit]
        assert list(rows["rank"]) == list(range(1, K + 1))
        assert list(rows["sentence"]) == list(wanted["sentence"])
        assert list(rows["response"]) == list(wanted["response"])
    shown = expertise.excited
    assert list(shown) == [*COLUMNS, "text"]
    is_marked = shown["start"] >= 0
    print(f"{is_marked.mean():.0%} of {len(shown)} tokens stand in the text")
    assert is_marked.any()  # [CLS] and [SEP] may respond, too
    for row in shown.itertuples():
        marked = row.text[row.start : row.end] if row.start >= 0 else ""
        assert marked == row.token or (
            row.end == -1 and row.token in ("[CLS]", "[SEP]")
        )


def test_marked_tokens_have_the_response(made: ResultFolder, tiny_bert: Model) -> None:
    rows = ej.Expertise(made).excited.sample(12, random_state=0)
    table = ej.token_activations(tiny_bert, list(rows["text"]), list(rows["unit"]))
    allowed = bounds.of_model(tiny_bert) * table["activation"].std()
    for number, row in enumerate(rows.itertuples()):
        here = table[(table["text"] == number) & (table["unit"] == row.unit)]
        best = here.iloc[here["activation"].argmax()]
        assert abs(best["activation"] - row.response) < allowed
        assert [best[name] for name in ("start", "end", "token")] == [
            row.start,
            row.end,
            row.token,
        ]


def test_again_and_after_a_stop_the_bytes_are_the_same(
    made: ResultFolder, tiny_bert: Model, tmp_path: Path, monkeypatch: Any
) -> None:
    copy = ResultFolder(shutil.copytree(made.path, tmp_path / "tiny"))
    path = copy.path / "excited.parquet"
    before, written = path.read_bytes(), path.stat().st_mtime_ns
    write_excited(copy, tiny_bert, K)
    assert path.stat().st_mtime_ns == written  # nothing was done
    path.unlink()

    def stop() -> None:
        raise Stopped("between two blocks")

    with monkeypatch.context() as patch:
        patch.setattr(stopping, "check", stop)
        with pytest.raises(Stopped):
            write_excited(copy, tiny_bert, K)
    assert contents(copy.path).keys() == contents(made.path).keys() - {path.name}
    write_excited(copy, tiny_bert, K)
    assert path.read_bytes() == before
    write_excited(copy, tiny_bert, 2)  # another wish is another table
    assert (copy.read_table("excited")["rank"] <= 2).all()
    write_excited(copy, tiny_bert, 10_000)  # more than there are sentences
    num_sentences = len(copy.read_table("sentences"))
    assert copy.read_table("excited")["rank"].max() == num_sentences


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling": "mean", "special_tokens": "exclude", "store_dtype": "float16"},
        {"pooling": "last", "long": "truncate", "seq_len": 12},
        {"compat": "selfcond", "seq_len": 40},
        {"sites": r"c_fc|:residual", "store_dtype": "bfloat16"},
    ],
    ids=lambda changes: ",".join(map(str, changes.values())),
)
def test_settings_are_the_captures(
    tiny_gpt2: Model, tmp_path: Path, changes: dict[str, Any]
) -> None:
    folder = result(tiny_gpt2, tmp_path / "tiny", **changes)
    write_excited(folder, tiny_gpt2, K)
    shown = ej.Expertise(folder).excited
    tokens = tiny_gpt2.tokenizer
    for row in shown.itertuples():
        if row.start < 0:
            assert changes.get("compat") and row.token == "<|endoftext|>"
            continue
        assert row.text[row.start : row.end] == row.token
        offsets = tokens(row.text, return_offsets_mapping=True).offset_mapping
        last = offsets[: changes.get("seq_len", SEQ_LEN)][-1][1]
        assert row.end <= last  # of a text that was cut, only what was run
        assert changes.get("pooling") != "last" or row.end == last
    if changes.get("compat"):
        print(f"{(shown['start'] < 0).mean():.0%} are highest at padding")
        assert (shown["start"] < 0).any()


def test_bfloat16_stays_within_what_is_allowed(
    tiny_gpt2_folder: Path, tmp_path: Path
) -> None:
    model = load_model(str(tiny_gpt2_folder), dtype=jax.numpy.bfloat16)
    changes = {"compute_dtype": "bfloat16", "seq_len": 16}
    folder = result(model, tmp_path / "tiny", **changes)
    write_excited(folder, model, K)
    assert len(folder.read_table("excited"))


def test_another_model_is_refused(
    made: ResultFolder, tiny_bert: Model, tmp_path: Path
) -> None:
    copy = ResultFolder(shutil.copytree(made.path, tmp_path / "tiny"))
    (copy.path / "excited.parquet").unlink()
    other = load_model(str(make_tiny_bert(tmp_path / "other", seed=1)))
    other = dataclasses.replace(other, tokenizer=tiny_bert.tokenizer)
    with pytest.raises(InputError, match="but the model now gives"):
        write_excited(copy, other, K)
    larger = load_model(str(make_tiny_bert(tmp_path / "large", num_hidden_layers=4)))
    with pytest.raises(InputError, match="it is another model"):
        write_excited(copy, larger, K)
    mixed = dataclasses.replace(tiny_bert, tokenizer=word_piece(60))
    with pytest.raises(InputError, match="is not that of the capture"):
        write_excited(copy, mixed, K)
    assert not copy.has_table("excited")


def test_a_wrong_position_would_be_noticed(
    made: ResultFolder, tiny_bert: Model, tmp_path: Path, monkeypatch: Any
) -> None:
    """The check sees units that are off by one."""
    copy = ResultFolder(shutil.copytree(made.path, tmp_path / "tiny"))
    (copy.path / "excited.parquet").unlink()
    right = excited.prepare_again

    def shifted(*args: Any) -> Any:
        prepared, columns = right(*args)
        return prepared, (columns + 1) % prepared.table.num_units

    monkeypatch.setattr(excited, "prepare_again", shifted)
    with pytest.raises(InputError, match="but the model now gives"):
        write_excited(copy, tiny_bert, K)


def test_scored_elsewhere_and_without_intervals(
    made: ResultFolder, tiny_bert: Model, tmp_path: Path
) -> None:
    settings = ScoreSettings(bootstrap_resamples=20, bootstrap_top=4)
    other = score(made, out=tmp_path / "a" / "tiny", settings=settings)
    write_excited(other, tiny_bert, K)
    assert other.read_table("excited").equals(made.read_table("excited"))
    none = score(
        made, out=tmp_path / "b" / "t", settings=ScoreSettings(bootstrap_top=0)
    )
    write_excited(none, tiny_bert, K)
    assert none.read_table("excited").empty
    assert list(ej.Expertise(none).excited) == [*COLUMNS, "text"]


@pytest.mark.parametrize("changes", [{}, {"keep_responses": False}])
def test_the_main_job_makes_it_where_responses_are_kept(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    model = make_tiny_gpt2(tmp_path / "tiny", n_layer=1)
    settings = ej.FindSettings(
        capture=CaptureSettings(seq_len=16),
        score=ScoreSettings(bootstrap_resamples=20),
        excited_sentences=6,
        **changes,
    )
    concepts = write_tiny_concepts(tmp_path / "concepts")
    [folder] = ej.find_experts([str(model)], concepts, tmp_path / "out", settings)
    assert (folder.path / "_SUCCESS").is_file()
    table = ej.Expertise(folder).excited
    assert isinstance(table, pd.DataFrame)
    assert folder.has_table("excited") == (not changes) == (len(table) > 0)
    assert table.empty or table["rank"].max() == 6
