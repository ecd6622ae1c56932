from pathlib import Path

import pytest

from expertjax.errors import InputError
from expertjax.stores.ledger import Ledger, write_atomically


def marked(folder: Path, *blocks: int) -> Ledger:
    ledger = Ledger(folder)
    for block in blocks:
        ledger.mark(block, 10 * block, 10 * block + 10)
    return ledger


def test_a_block_is_done_once_it_is_marked(tmp_path: Path):
    ledger = marked(tmp_path / "a" / "b", 0, 2)
    assert ledger.finished() == {0, 2}
    assert Ledger(tmp_path / "a" / "b").finished() == {0, 2}


def test_nothing_is_made_by_asking(tmp_path: Path):
    ledger = Ledger(tmp_path / "a")
    assert 0 not in ledger.finished()
    assert not ledger.is_closed
    assert not (tmp_path / "a").exists()


def test_it_closes_only_when_every_block_is_there(tmp_path: Path):
    ledger = marked(tmp_path, 0, 2)
    with pytest.raises(InputError, match=r"000001\.json.*1 of 3"):
        ledger.close(3)
    assert not ledger.is_closed
    ledger.mark(1, 10, 20)
    ledger.close(3)
    assert ledger.is_closed


def test_readers_are_refused_before_it_is_closed(tmp_path: Path):
    ledger = marked(tmp_path / "ledger", 0)
    with pytest.raises(InputError, match=r"responses\.zarr: incomplete.*run the same"):
        ledger.require_closed(tmp_path / "responses.zarr")
    ledger.close(1)
    ledger.require_closed(tmp_path / "responses.zarr")
    ledger.reopen()
    with pytest.raises(InputError, match="incomplete"):
        ledger.require_closed(tmp_path / "responses.zarr")
    ledger.reopen()  # twice does no harm


def test_a_mark_that_went_missing_later_is_noticed(tmp_path: Path):
    ledger = marked(tmp_path, 0, 1)
    ledger.close(2)
    (tmp_path / "000001.json").unlink()
    with pytest.raises(InputError, match=r"000001\.json"):
        ledger.require_closed(tmp_path / "responses.zarr")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"num_blocks": null}', "{"])
def test_a_damaged_closing_mark_is_named(tmp_path: Path, content: str):
    ledger = marked(tmp_path, 0)
    ledger.close(1)
    (tmp_path / "_SUCCESS").write_text(content)
    with pytest.raises(InputError, match="_SUCCESS: damaged"):
        ledger.require_closed(tmp_path / "responses.zarr")


def test_a_file_is_replaced_whole(tmp_path: Path):
    path = tmp_path / "run.json"
    write_atomically(path, "one")
    write_atomically(path, "two")
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path):
    path = tmp_path / "run.json"
    write_atomically(path, "one")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "two \ud800")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]
