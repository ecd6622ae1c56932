import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expertjax.errors import InputError
from expertjax.stores import arrays, paths
from expertjax.stores.folder import ResultFolder
from expertjax.stores.ledger import Ledger


@pytest.fixture(params=["local", "bucket"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, bucket_name: str = "bucket"
) -> Path:
    """An empty place, on disk and in a bucket."""
    if request.param == "local":
        return tmp_path
    return paths.as_path(request.getfixturevalue(bucket_name)) / tmp_path.name


def test_local_paths_stay_what_they_are():
    for text in ("out", "out/../x", "/a/b", ".", "a:b", "C:/x"):
        assert paths.as_path(text) == Path(text)
        assert isinstance(paths.as_path(text), Path)
    path = Path("out")
    assert paths.as_path(path) is not None and paths.as_path(path) == path


@pytest.mark.parametrize(
    "text", ["s3://bucket/out", "file:///out", "http://x/y", "gs://", "gs:///out"]
)
def test_other_schemes_are_refused(text: str):
    with pytest.raises(InputError, match=r"expected a local path or gs://bucket/"):
        paths.as_path(text)


def test_a_bucket_given_as_a_path_is_noticed():
    with pytest.raises(InputError, match=r"give a str, gs://bucket/"):
        paths.as_path(Path("gs://bucket/out"))


@pytest.mark.parametrize("module", ["gcsfs", "fsspec"])
def test_missing_packages_are_named(module: str, monkeypatch: pytest.MonkeyPatch):
    paths._file_system.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{module}.*expertjax\[gcs\]"):
        paths.as_path("gs://not-asked-before/out")


def test_a_bucket_that_is_not_there(bucket: str):
    with pytest.raises(InputError, match=r"gs://nowhere: cannot be reached.*name and"):
        paths.as_path(f"{bucket.removesuffix('tests')}nowhere/out")


def test_bucket_paths(bucket: str):
    path = paths.as_path(f"{bucket}/a/x/../b/")
    assert str(path) == f"{bucket}/a/b"
    assert str(paths.as_path(path) / "c") == f"{bucket}/a/b/c"
    assert paths.kvstore(path) == {"driver": "gcs", "bucket": "tests", "path": "a/b"}
    assert paths.location(paths.kvstore(path)) == str(path)
    assert paths.resolved(path) == paths.absolute(path) == path


def test_ways_between_places(bucket: str, tmp_path: Path):
    here, there = tmp_path / "a" / "m", tmp_path / "b" / "m"
    assert paths.relative(here, there) == "../../a/m"
    assert paths.follow(there, "../../a/m").resolve() == here
    assert paths.follow(here, ".") == here
    far = paths.as_path(f"{bucket}/a/m")
    other = paths.as_path(f"{bucket}/b/m")
    assert paths.relative(far, other) == "../../a/m"
    assert paths.follow(other, "../../a/m") == far
    assert paths.follow(far, paths.relative(far, far)) == far
    assert paths.follow(here, paths.relative(far, here)) == far
    assert paths.follow(far, paths.relative(here, far)) == here


def test_files_and_folders(place: Path):
    assert paths.names(place / "none") == set()
    paths.make_folder(place / "a" / "b")
    paths.write_atomically(place / "a" / "b" / "file", "one")
    paths.write_atomically(place / "a" / "b" / "file", "two")
    paths.write_atomically(place / "a" / "empty", b"")
    assert (place / "a" / "b" / "file").read_bytes() == b"two"
    assert (place / "a" / "empty").read_bytes() == b""
    assert paths.names(place / "a") == {"b", "empty"}
    assert paths.subfolders(place / "a") == ["b"]
    paths.copy_file(place / "a" / "b" / "file", place / "a" / "copy")
    assert (place / "a" / "copy").read_bytes() == b"two"
    (place / "a" / "copy").unlink(missing_ok=True)
    (place / "a" / "copy").unlink(missing_ok=True)
    assert not (place / "a" / "copy").is_file()
    paths.remove_folder(place / "a")
    paths.remove_folder(place / "a")
    assert not (place / "a" / "b" / "file").exists()


def test_a_folder_written_aside(place: Path):
    with paths.aside(place / "new") as folder:
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "x").write_text("x")
        (folder / "y").write_text("y")
        assert not (place / "new").exists()
    assert (place / "new" / "inner" / "x").read_text() == "x"
    assert paths.names(place) == {"new"}


def test_what_fails_leaves_nothing(place: Path):
    paths.write_atomically(place / "file", "one")
    with pytest.raises(UnicodeEncodeError):
        paths.write_atomically(place / "file", "two \ud800")
    with pytest.raises(KeyError), paths.aside(place / "folder") as folder:
        folder.mkdir()
        (folder / "x").write_text("x")
        raise KeyError
    assert (place / "file").read_bytes() == b"one"
    assert paths.names(place) == {"file"}


def test_result_folders(place: Path):
    folder = ResultFolder(place / "out" / "tiny")
    folder.claim("capture", {"seq_len": 8})
    with pytest.raises(InputError, match="seq_len: there 8, here 9"):
        ResultFolder(str(folder.path)).claim("capture", {"seq_len": 9})
    table = pd.DataFrame({"text": ["<b>", "犬"]})
    folder.write_table("sentences", table)
    pd.testing.assert_frame_equal(folder.read_table("sentences"), table)
    with pytest.raises(InputError, match=r"units\.parquet: cannot be read"):
        folder.read_table("units")
    folder.succeed()
    assert paths.names(folder.path) == {"run.json", "sentences.parquet", "_SUCCESS"}
    folder.unsucceed()
    folder.unsucceed()
    assert not (folder.path / "_SUCCESS").exists()


def test_ledgers(place: Path):
    ledger = Ledger(place / "ledger")
    with pytest.raises(InputError, match="2 of 2"):
        ledger.close(2)
    assert 0 not in ledger.finished()
    ledger.mark(0, 0, 10)
    # What another process marks is seen, though the folder has been listed.
    with pytest.raises(InputError, match=r"000001\.json.*1 of 2"):
        ledger.close(2)
    Ledger(place / "ledger").mark(1, 10, 20)
    assert 1 in ledger.finished()
    ledger.close(2)
    ledger.require_closed(place / "x.zarr")
    ledger.reopen()
    ledger.reopen()
    assert not ledger.is_closed


def test_arrays(place: Path):
    arrays.create_group(place / "e.zarr")
    assert paths.subfolders(place / "e.zarr") == []
    layout = arrays.Layout((3, 40), "float32", (3, 40), ("concept", "unit"))
    array = arrays.create_array(place / "e.zarr" / "ap", layout)
    values = np.arange(120, dtype=np.float32).reshape(3, 40)
    arrays.write_part({"ap": array}, {"ap": values}, slice(None), slice(0, 40))
    assert paths.subfolders(place / "e.zarr") == ["ap"]
    again = arrays.open_array(place / "e.zarr" / "ap")
    assert (arrays.read(again, slice(0, 3), slice(0, 40)) == values).all()
    with pytest.raises(InputError, match="cannot be made or continued"):
        arrays.create_array(
            place / "e.zarr" / "ap",
            arrays.Layout((4, 40), "float32", (4, 40), ("concept", "unit")),
        )
    chunk = place / "e.zarr" / "ap" / "c" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[8] ^= 1
    chunk.write_bytes(bytes(content))
    with pytest.raises(InputError, match="a chunk is damaged") as caught:
        arrays.read(again, slice(0, 3), slice(0, 40))
    assert str(caught.value).startswith(str(place / "e.zarr" / "ap"))
