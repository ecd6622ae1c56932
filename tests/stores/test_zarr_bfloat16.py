"""bfloat16 responses in zarr and xarray."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from expertjax.stores import arrays

zarr = pytest.importorskip("zarr", "3.1")
xarray = pytest.importorskip("xarray")

from expertjax.stores.zarr_bfloat16 import teach_zarr  # noqa: E402


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A group with an array of ours, and what is in it."""
    values = np.random.default_rng(0).normal(size=(7, 90)).astype(ml_dtypes.bfloat16)
    arrays.create_group(tmp_path / "group")
    layout = arrays.Layout((7, 90), "bfloat16", (4, 90), ("sentence", "unit"), 32)
    array = arrays.create_array(tmp_path / "group" / "responses", layout)
    array.write(values).result()
    return tmp_path / "group", values


def test_zarr_and_xarray_read_what_tensorstore_wrote(
    stored: tuple[Path, np.ndarray],
) -> None:
    folder, values = stored
    teach_zarr()
    teach_zarr()  # again is no harm
    array = zarr.open_array(folder / "responses", mode="r")
    assert array.metadata.dimension_names == ("sentence", "unit")
    np.testing.assert_array_equal(array[:, 40:50], values[:, 40:50])
    opened = xarray.open_zarr(folder, consolidated=False, chunks=None)["responses"]
    assert opened.sizes == {"sentence": 7, "unit": 90}
    there = opened.astype(np.float32).to_numpy()
    np.testing.assert_array_equal(there, values.astype(np.float32))


def test_other_dtypes_are_read_and_written_as_before(tmp_path: Path) -> None:
    teach_zarr()
    for dtype in ("float16", "float32"):
        array = zarr.create_array(tmp_path / dtype, shape=(3,), dtype=dtype)
        array[:] = np.arange(3)
        assert zarr.open_array(tmp_path / dtype, mode="r")[:].dtype == dtype
        metadata = json.loads((tmp_path / dtype / "zarr.json").read_text())
        assert metadata["data_type"] == dtype


def test_zarr_writes_what_we_read(tmp_path: Path) -> None:
    teach_zarr()
    values = np.array([[1.5, -2.0]], ml_dtypes.bfloat16)
    array = zarr.create_array(tmp_path / "a", shape=(1, 2), dtype=values.dtype)
    array[:] = values
    there = arrays.open_array(tmp_path / "a").read().result()
    np.testing.assert_array_equal(there, values)
