"""Two-dimensional zarr3 arrays, written and read through TensorStore.

A shard is one block of work and has one writer, so that a killed writer leaves
a whole shard or none. Missing chunks read as NaN and chunks of NaN are stored,
so that nothing unwritten can pass for data. Chunks carry a CRC-32C.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import tensorstore as ts

from expertjax.absent import widened
from expertjax.errors import InputError
from expertjax.stores import paths

DTYPES = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
CHUNK_COLUMNS = 512  # inner chunks, so that columns can be read without rows' cost
MIN_CHUNK_COLUMNS = 32
MAX_SHARD_BYTES = 256 * 2**20
MAX_COLUMN_BYTES = 128 * 2**20  # of one column of chunks, which is read as a whole
_CHECKED_BYTES = [
    {"name": "bytes", "configuration": {"endian": "little"}},
    {"name": "crc32c"},
]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Shape and blocking of one array.

    Attributes:
      shape: (rows, columns).
      dtype: "float32", "float16" or "bfloat16".
      shard: (rows, columns) of a block of work.
      names: of the two dimensions.
      chunk_columns: of the chunks inside a shard.
    """

    shape: tuple[int, int]
    dtype: str
    shard: tuple[int, int]
    names: tuple[str, str]
    chunk_columns: int = CHUNK_COLUMNS


def narrow_chunks(num_rows: int) -> int:
    """Columns of chunks such that all rows of them fit into memory as float32."""
    columns = CHUNK_COLUMNS
    while columns > MIN_CHUNK_COLUMNS and 4 * num_rows * columns > MAX_COLUMN_BYTES:
        columns //= 2
    return columns


def chunk_columns(array: ts.TensorStore) -> int:
    """Columns of an array's chunks."""
    shape = array.chunk_layout.read_chunk.shape
    assert shape is not None and shape[1] is not None
    return shape[1]


def create_array(path: Path, layout: Layout) -> ts.TensorStore:
    """Makes an empty array, or opens one that an interrupted run has made.

    Raises:
      InputError: another array is there.
    """
    inner = [layout.shard[0], min(layout.shard[1], layout.chunk_columns)]
    # Inner chunks have to divide the shard.
    outer = [inner[0], -(-layout.shard[1] // inner[1]) * inner[1]]
    spec = _spec(path) | {
        "metadata": {
            "shape": list(layout.shape),
            "data_type": layout.dtype,
            "fill_value": "NaN",
            "dimension_names": list(layout.names),
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": outer},
            },
            "codecs": [
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": inner,
                        "codecs": _CHECKED_BYTES,
                        "index_codecs": _CHECKED_BYTES,
                        "index_location": "end",
                    },
                }
            ],
        },
        "store_data_equal_to_fill_value": True,
    }
    try:
        return ts.open(ts.Spec(spec), open=True, create=True).result()
    except ValueError as error:
        raise InputError(
            f"{path}: cannot be made or continued: {_reason(error)}"
        ) from error


def open_array(path: Path) -> ts.TensorStore:
    """Opens an array for reading.

    Raises:
      InputError: there is none, or its metadata cannot be read.
    """
    try:
        return ts.open(ts.Spec(_spec(path)), open=True, read=True).result()
    except ValueError as error:
        raise InputError(
            f"{path}: cannot be opened as zarr: {_reason(error)}"
        ) from error


def create_group(path: Path) -> None:
    """Makes a zarr3 group, the parent of named arrays."""
    paths.make_folder(path)
    metadata = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    (path / "zarr.json").write_text(json.dumps(metadata))


@dataclasses.dataclass(frozen=True)
class Reading:
    """A part of an array on its way into memory."""

    array: ts.TensorStore
    rows: slice
    columns: slice | np.ndarray
    future: ts.Future

    def finish(self) -> np.ndarray:
        """The part, float32; raises as `read` does."""
        advice = "remove the model's result folder and run again"
        try:
            part = widened(np.asarray(self.future.result()))
        except (ValueError, OSError) as error:
            raise InputError(
                f"{_path(self.array)}: a chunk is damaged; {advice} ({_reason(error)})"
            ) from error
        # One pass that makes no array: the sum of finite float32 in float64 is finite.
        if not np.isfinite(part.sum(dtype=np.float64)):
            row, column = np.argwhere(~np.isfinite(part))[0]
            labels = self.array.domain.labels
            columns = np.arange(self.array.shape[1])[self.columns]
            raise InputError(
                f"{_path(self.array)}: {labels[0]} {row + (self.rows.start or 0)}, "
                f"{labels[1]} {columns[column]} is {part[row, column]}, which is never "
                f"written: a chunk is missing, or another program has written; {advice}"
            )
        return part


def read(array: ts.TensorStore, rows: slice, columns: slice | np.ndarray) -> np.ndarray:
    """A part of an array in host memory, as float32.

    Args:
      array: any of the stores.
      rows: a run of rows.
      columns: a run of columns, or their numbers.

    Raises:
      InputError: a chunk is missing, truncated or fails its checksum, or a number
        is not finite.
    """
    return start_read(array, rows, columns).finish()


def start_read(
    array: ts.TensorStore, rows: slice, columns: slice | np.ndarray
) -> Reading:
    """Begins a `read` in the background."""
    return Reading(array, rows, columns, array[rows, columns].read())


def write_part(
    targets: Mapping[str, ts.TensorStore],
    values: Mapping[str, np.ndarray],
    rows: slice,
    columns: slice,
) -> None:
    """Writes a part of several arrays; returns when committed.

    Raises:
      InputError: the disk is full or cannot be written.
    """
    futures = [
        (array, array[rows, columns].write(values[name]))
        for name, array in targets.items()
    ]
    for array, future in futures:
        commit(array, future)


def commit(array: ts.TensorStore, future: ts.WriteFutures) -> None:
    """Waits until a write is on disk.

    Raises:
      InputError: it could not be written.
    """
    try:
        future.commit.result()
    except (ValueError, OSError) as error:
        raise InputError(
            f"{_path(array)}: cannot be written ({_reason(error)}); run the same "
            "command again once this is mended"
        ) from error


def _path(array: ts.TensorStore) -> str:
    return paths.location(array.kvstore.spec().to_json()) if array.kvstore else "array"


def _reason(error: Exception) -> str:
    """What TensorStore says, without the specification that it repeats."""
    return str(error).partition(" [tensorstore_spec=")[0]


def _spec(path: Path) -> dict:
    return {
        "driver": "zarr3",
        "kvstore": paths.kvstore(path),
        # The default keeps chunks in memory; blocks are read and written once.
        "context": {"cache_pool": {"total_bytes_limit": 0}},
        "recheck_cached_data": "open",
    }
