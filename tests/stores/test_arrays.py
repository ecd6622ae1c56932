import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tensorstore as ts
import zarr

from expertjax.errors import InputError
from expertjax.stores import arrays

SHAPE = (100, 1300)  # blocks of 40 rows: the last is short; chunks of 512 columns
NAMES = ("sentence", "unit")


def layout(dtype: str = "float32", shape: tuple[int, int] = SHAPE) -> arrays.Layout:
    return arrays.Layout(shape, dtype, (40, shape[1]), NAMES)


def values(dtype: str = "float32", seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed).normal(0, 100, SHAPE)
    return random.astype(arrays.DTYPES[dtype])


def write_rows(array: ts.TensorStore, x: np.ndarray, start: int) -> None:
    stop = min(start + 40, len(x))
    arrays.commit(array, array[start:stop].write(x[start:stop]))


def write_all(path: Path, x: np.ndarray, dtype: str = "float32") -> ts.TensorStore:
    array = arrays.create_array(path, layout(dtype))
    for start in range(0, len(x), 40):
        write_rows(array, x, start)
    return array


def read_all(path: Path) -> np.ndarray:
    array = arrays.open_array(path)
    return arrays.read(array, slice(0, array.shape[0]), slice(0, array.shape[1]))


def shards(path: Path) -> list[Path]:
    """Files of data, one for each block of work."""
    return sorted(file for file in (path / "c").rglob("*") if file.is_file())


def test_paths_may_lead_upwards(tmp_path: Path):
    (tmp_path / "below").mkdir()
    x = values()
    write_all(tmp_path / "below" / ".." / "x.zarr", x)
    assert (read_all(tmp_path / "x.zarr") == x).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_come_back_to_the_bit(tmp_path: Path, dtype: str):
    x = values(dtype)
    x[0, :4] = [0.0, -0.0, np.finfo(np.float32).tiny, 65504.0]
    write_all(tmp_path / "x.zarr", x, dtype)
    back = read_all(tmp_path / "x.zarr")
    assert back.dtype == np.float32
    expected = x.astype(np.float32)
    assert (back.view(np.uint32) == expected.view(np.uint32)).all()


def test_a_block_of_work_is_one_file(tmp_path: Path):
    array = arrays.create_array(tmp_path / "x.zarr", layout())
    for count, start in enumerate(range(0, 100, 40), start=1):
        write_rows(array, values(), start)
        assert len(shards(tmp_path / "x.zarr")) == count


def test_parts_are_read_by_rows_and_by_chosen_columns(tmp_path: Path):
    x = values()
    array = write_all(tmp_path / "x.zarr", x)
    part = arrays.read(array, slice(35, 90), slice(500, 530))
    assert (part == x[35:90, 500:530]).all()
    chosen = np.array([1299, 0, 511, 512, 0])
    assert (arrays.read(array, slice(0, 100), chosen) == x[:, chosen]).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_zarr_python_reads_the_same(tmp_path: Path, dtype: str):
    x = values(dtype)
    write_all(tmp_path / "x.zarr", x, dtype)
    array = zarr.open_array(tmp_path / "x.zarr", mode="r")
    assert array.shape == SHAPE
    assert array.dtype == np.dtype(dtype)
    assert array.metadata.dimension_names == NAMES
    assert (array[:] == x).all()


def test_zarr_python_finds_the_arrays_of_a_group(tmp_path: Path):
    arrays.create_group(tmp_path / "e.zarr")
    for name in ("ap", "auroc"):
        write_all(tmp_path / "e.zarr" / name, values(seed=len(name)))
    group = zarr.open_group(tmp_path / "e.zarr", mode="r")
    assert sorted(name for name, _ in group.arrays()) == ["ap", "auroc"]
    assert (group["ap"][:] == values(seed=2)).all()


def test_what_was_never_written_is_nan_to_others_and_refused_here(tmp_path: Path):
    path = tmp_path / "x.zarr"
    array = arrays.create_array(path, layout())
    write_rows(array, values(), 40)
    there = zarr.open_array(path, mode="r")[:]
    assert np.isnan(there[:40]).all() and np.isnan(there[80:]).all()
    assert (there[40:80] == values()[40:80]).all()
    assert (arrays.read(array, slice(40, 80), slice(0, 9)) == there[40:80, :9]).all()
    with pytest.raises(InputError, match=r"x\.zarr.*missing.*run again"):
        arrays.read(array, slice(39, 80), slice(0, 9))


def test_a_block_of_nan_is_stored_like_any_other(tmp_path: Path):
    array = arrays.create_array(tmp_path / "x.zarr", layout())
    write_rows(array, np.full(SHAPE, np.nan, np.float32), 0)
    assert len(shards(tmp_path / "x.zarr")) == 1


@pytest.mark.parametrize("place", ["data", "index"])
def test_a_flipped_bit_is_noticed(tmp_path: Path, place: str):
    path = tmp_path / "x.zarr"
    write_all(path, values())
    shard = shards(path)[1]
    content = bytearray(shard.read_bytes())
    content[1000 if place == "data" else -10] ^= 0b100
    shard.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.zarr.*damaged.*run again"):
        read_all(path)
    # The other blocks are as good as ever.
    assert (arrays.read(arrays.open_array(path), slice(0, 40), slice(0, 9))).any()


def test_a_flipped_bit_in_bfloat16_is_noticed(tmp_path: Path):
    path = tmp_path / "x.zarr"
    write_all(path, values("bfloat16"), "bfloat16")
    shard = shards(path)[0]
    content = bytearray(shard.read_bytes())
    content[0] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_all(path)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_truncated_file_is_noticed(tmp_path: Path, share: float):
    path = tmp_path / "x.zarr"
    write_all(path, values())
    content = shards(path)[1].read_bytes()
    shards(path)[1].write_bytes(content[: int(share * (len(content) - 1))])
    with pytest.raises(InputError, match=r"x\.zarr.*damaged"):
        read_all(path)


def test_a_removed_file_is_noticed(tmp_path: Path):
    path = tmp_path / "x.zarr"
    write_all(path, values())
    shards(path)[2].unlink()
    with pytest.raises(InputError, match=r"x\.zarr.*missing"):
        read_all(path)


@pytest.mark.parametrize("content", [None, b"", b'{"zarr_format": 3'])
def test_metadata_that_cannot_be_read_are_named(tmp_path: Path, content: bytes | None):
    path = tmp_path / "x.zarr"
    write_all(path, values())
    (path / "zarr.json").unlink()
    if content is not None:
        (path / "zarr.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.zarr: cannot be opened") as caught:
        arrays.open_array(path)
    assert "tensorstore_spec" not in str(caught.value)


def test_an_array_can_be_gone_on_with(tmp_path: Path):
    path = tmp_path / "x.zarr"
    write_rows(arrays.create_array(path, layout()), values(), 0)
    again = arrays.create_array(path, layout())
    write_rows(again, values(), 40)
    write_rows(again, values(), 80)
    assert (read_all(path) == values()).all()


@pytest.mark.parametrize(
    "other",
    [
        layout("float16"),
        layout(shape=(101, 1300)),
        arrays.Layout(SHAPE, "float32", (50, 1300), NAMES),
    ],
)
def test_an_array_of_another_layout_is_refused(tmp_path: Path, other: arrays.Layout):
    path = tmp_path / "x.zarr"
    write_all(path, values())
    with pytest.raises(InputError, match=r"x\.zarr: cannot be made or continued"):
        arrays.create_array(path, other)
    assert (read_all(path) == values()).all()


def test_a_path_that_a_file_blocks_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"x\.zarr: cannot be made"):
        arrays.create_array(tmp_path / "file" / "x.zarr", layout())


def test_a_write_that_fails_is_an_error_that_names_the_array(tmp_path: Path):
    array = arrays.create_array(tmp_path / "x.zarr", layout())
    (tmp_path / "x.zarr" / "c").write_text("in the way")
    with pytest.raises(InputError, match=r"x\.zarr.*cannot be written"):
        write_rows(array, values(), 0)


def test_columns_are_written_to_several_arrays_at_once(tmp_path: Path):
    shape, x = (3, 1300), values()[:6]
    shape_of_blocks = arrays.Layout(shape, "float32", (3, 512), ("concept", "unit"))
    targets = {
        name: arrays.create_array(tmp_path / name, shape_of_blocks)
        for name in ("ap", "auroc")
    }
    for start in range(0, 1300, 512):
        stop = min(start + 512, 1300)
        parts = {"ap": x[:3, start:stop], "auroc": x[3:, start:stop]}
        arrays.write_part(targets, parts, slice(None), slice(start, stop))
        assert len(shards(tmp_path / "ap")) == start // 512 + 1
    assert (read_all(tmp_path / "ap") == x[:3]).all()
    assert (read_all(tmp_path / "auroc") == x[3:]).all()


def test_the_metadata_say_what_readers_rely_on(tmp_path: Path):
    write_all(tmp_path / "x.zarr", values("bfloat16"), "bfloat16")
    metadata = json.loads((tmp_path / "x.zarr" / "zarr.json").read_text())
    assert metadata["data_type"] == "bfloat16"
    assert metadata["fill_value"] == "NaN"
    assert metadata["dimension_names"] == list(NAMES)
    [sharding] = metadata["codecs"]
    codecs = [codec["name"] for codec in sharding["configuration"]["codecs"]]
    assert codecs == ["bytes", "crc32c"]
    assert np.dtype(ml_dtypes.bfloat16) == arrays.DTYPES["bfloat16"]
