"""bfloat16 for zarr-python, which has no such dtype of its own.

    from expertjax.stores.zarr_bfloat16 import teach_zarr

    teach_zarr()
    responses = zarr.open_array("OUT/model/responses.zarr", mode="r")

Then zarr reads what TensorStore has written, as numpy arrays of `ml_dtypes.bfloat16`.
"""

import dataclasses
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
from zarr.dtype import Float16, data_type_registry

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _BFloat16(Float16):
    """The upper half of a float32. JSON spells its numbers as it does float16's."""

    dtype_cls: ClassVar[Any] = type(_BFLOAT16)
    _zarr_v3_name: ClassVar[Any] = "bfloat16"
    _zarr_v2_names: ClassVar[Any] = ()

    @classmethod
    def from_native_dtype(cls, dtype: Any) -> Any:
        if dtype == _BFLOAT16:
            return cls()
        return super().from_native_dtype(np.dtype(object))  # which refuses

    def to_native_dtype(self) -> Any:
        return _BFLOAT16

    def cast_scalar(self, data: Any) -> Any:
        return _BFLOAT16.type(data)

    def default_scalar(self) -> Any:
        return _BFLOAT16.type(0)

    def from_json_scalar(self, data: Any, *, zarr_format: Any) -> Any:
        return _BFLOAT16.type(super().from_json_scalar(data, zarr_format=zarr_format))


def teach_zarr() -> None:
    """Lets zarr-python, from 3.1 on, and what builds on it open bfloat16 arrays."""
    data_type_registry.register("bfloat16", _BFloat16)
