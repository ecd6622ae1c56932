import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expertjax.errors import InputError
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder

SETTINGS: dict[str, Any] = {"seq_len": 128, "sites": "", "metrics": ("ap", "auroc")}


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    result = ResultFolder(tmp_path / "out" / "tiny")
    result.claim("capture", SETTINGS)
    return result


def test_a_claim_can_be_repeated_with_the_same_settings(folder: ResultFolder):
    before = (folder.path / "run.json").read_text()
    folder.claim("capture", dict(reversed(SETTINGS.items())))
    assert (folder.path / "run.json").read_text() == before
    assert folder.read_run()["capture"] == SETTINGS | {"metrics": ["ap", "auroc"]}


def test_a_claim_with_other_settings_says_what_differs(folder: ResultFolder):
    before = (folder.path / "run.json").read_text()
    other = {"seq_len": 64, "sites": "", "pooling": "max", "metrics": ["ap"]}
    with pytest.raises(InputError) as caught:
        folder.claim("capture", other)
    message = str(caught.value)
    assert f"--out: {folder.path}" in message
    assert "seq_len: there 128, here 64" in message
    assert "pooling: there None, here 'max'" in message
    assert "metrics: there ['ap', 'auroc'], here ['ap']" in message
    assert "sites" not in message
    assert (folder.path / "run.json").read_text() == before


def test_parts_are_claimed_apart_and_can_be_forgotten(folder: ResultFolder):
    folder.claim("score", {"seed": 1})
    folder.forget("score")
    folder.claim("score", {"seed": 2})
    run = folder.read_run()
    assert run["score"] == {"seed": 2}
    assert run["capture"]["seq_len"] == 128


def test_a_folder_of_another_format_is_refused(folder: ResultFolder):
    run = folder.read_run() | {"format_version": 99}
    (folder.path / "run.json").write_text(json.dumps(run))
    with pytest.raises(InputError, match="format version 99"):
        folder.claim("capture", SETTINGS)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "3"])
def test_a_damaged_run_is_named(folder: ResultFolder, content: str):
    (folder.path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json: cannot be read"):
        folder.claim("capture", SETTINGS)


@pytest.mark.parametrize("place", ["file", "file/tiny"])
def test_a_file_in_the_way_is_named(tmp_path: Path, place: str):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match=r"--out: the folder .*file.* cannot be made"):
        ResultFolder(tmp_path / place).claim("capture", SETTINGS)
    assert (tmp_path / "file").read_text() == "precious"


def test_success_is_marked_and_taken_back(folder: ResultFolder):
    folder.succeed()
    assert (folder.path / "_SUCCESS").is_file()
    folder.unsucceed()
    folder.unsucceed()
    assert not (folder.path / "_SUCCESS").exists()


def test_tables_come_back_and_leave_nothing_beside_them(folder: ResultFolder):
    table = pd.DataFrame({"text": ["<b>", "犬"], "n_tokens": [1, 2]})
    folder.write_table("sentences", table)
    pd.testing.assert_frame_equal(folder.read_table("sentences"), table)
    names = {path.name for path in folder.path.iterdir()}
    assert names == {"run.json", "sentences.parquet"}


def test_a_table_that_cannot_be_written_stays_as_it_was(folder: ResultFolder):
    good = pd.DataFrame({"text": ["a"]})
    folder.write_table("sentences", good)
    with pytest.raises(UnicodeEncodeError):
        folder.write_table("sentences", pd.DataFrame({"text": ["b", "\ud800"]}))
    pd.testing.assert_frame_equal(folder.read_table("sentences"), good)
    names = {path.name for path in folder.path.iterdir()}
    assert names == {"run.json", "sentences.parquet"}


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and nothing more"])
def test_a_damaged_table_is_named(folder: ResultFolder, content: bytes | None):
    if content is not None:
        (folder.path / "units.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"units\.parquet: cannot be read"):
        folder.read_table("units")


def test_memberships_are_one_row_per_labelled_sentence(folder: ResultFolder):
    sentences = [np.array([4, 0, 4]), np.array([1, 2])]
    labels = [np.array([1, 0, 0]), np.array([0, 1])]
    folder.write_memberships(["s/crow", "s/rook"], sentences, labels)
    table = folder.read_table("memberships")
    assert table["concept"].tolist() == ["s/crow"] * 3 + ["s/rook"] * 2
    assert table["sentence"].tolist() == [4, 0, 4, 1, 2]
    assert table["label"].tolist() == [1, 0, 0, 0, 1]
    assert [str(table[name].dtype) for name in ("sentence", "label")] == [
        "int32",
        "int8",
    ]


def write_store(path: Path) -> None:
    layout = arrays.Layout((2, 3), "float32", (2, 3), ("concept", "unit"))
    array = arrays.create_array(path, layout)
    arrays.write_part(
        {"x": array}, {"x": np.ones((2, 3), np.float32)}, slice(0, 2), slice(0, 3)
    )


def test_responses_are_read_only_when_their_capture_is_complete(folder: ResultFolder):
    write_store(folder.responses_path)
    with pytest.raises(InputError, match=r"responses\.zarr: incomplete"):
        folder.open_responses()
    folder.responses_ledger.mark(0, 0, 2)
    with pytest.raises(InputError, match=r"responses\.zarr: incomplete"):
        folder.open_responses()
    folder.responses_ledger.close(1)
    assert folder.open_responses().shape == (2, 3)


def test_responses_of_no_run_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"none/run\.json.*expected the folder OUT/"):
        ResultFolder(tmp_path / "none").open_responses()


def test_expertise_is_read_by_metric_when_it_is_complete(folder: ResultFolder):
    arrays.create_group(folder.expertise_path)
    write_store(folder.expertise_path / "ap")
    with pytest.raises(InputError, match=r"expertise\.zarr: incomplete"):
        folder.open_expertise("ap")
    folder.expertise_ledger.mark(0, 0, 3)
    folder.expertise_ledger.close(1)
    assert folder.open_expertise("ap").shape == (2, 3)
    with pytest.raises(InputError, match=r"no metric 'aq'; there are \['ap'\]"):
        folder.open_expertise("aq")
