"""AWQ, against AutoAWQ and against bits by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.errors import InputError
from tests.checkpoints.quantised.folders import assert_is_model_of, read_weight

torch = pytest.importorskip("torch")
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm"}
AWQ |= {"zero_point": True, "modules_to_not_convert": None}


def test_bits_by_hand(tmp_path: Path) -> None:
    """Written by hand: a word's halves of bytes are of outputs 0 2 4 6 1 3 5 7."""
    parts = {
        ".qweight": torch.tensor([[0x7531_6420], [0x0000_0000]], dtype=torch.int32),
        ".qzeros": torch.tensor([[0x0000_0001]], dtype=torch.int32),
        ".scales": torch.full((1, 8), 0.25, dtype=torch.float16),
    }
    found = read_weight(tmp_path, AWQ, parts)
    zero = np.float32([1, 0, 0, 0, 0, 0, 0, 0])
    wanted = (np.float32([range(8), [0] * 8]) - zero).T / 4
    np.testing.assert_array_equal(found, wanted)


def test_groups_of_unequal_size_are_refused(tmp_path: Path) -> None:
    parts = {
        ".qweight": torch.zeros(3, 1, dtype=torch.int32),
        ".qzeros": torch.zeros(2, 1, dtype=torch.int32),
        ".scales": torch.ones(2, 8, dtype=torch.float16),
    }
    with pytest.raises(InputError, match="3 inputs in 2 groups"):
        read_weight(tmp_path, AWQ, parts)


@pytest.mark.parametrize("size", [16, -1])
def test_a_whole_model(tmp_path: Path, size: int) -> None:
    """Against AutoAWQ's `WQLinear_GEMM` and `dequantize_gemm`."""
    gemm = pytest.importorskip("awq.modules.linear.gemm")
    packing = pytest.importorskip("awq.utils.packing_utils")

    def pack(module: str, weight: Any) -> Mapping[str, Any]:
        rows, columns = weight.shape
        groups = weight.reshape(rows, -1, size if size > 0 else columns)
        low, high = groups.amin(2), groups.amax(2)
        scale = ((high - low) / 15).half()
        zero = (-low / scale).round().clamp(0, 15)
        linear = torch.nn.Linear(columns, rows, bias=False)
        linear.weight.data = weight.clone()
        linear.weight.data.clamp_(
            ((0 - zero) * scale).repeat_interleave(groups.shape[2], 1),
            ((15 - zero) * scale).repeat_interleave(groups.shape[2], 1),
        )
        made = gemm.WQLinear_GEMM.from_linear(
            linear,
            4,
            groups.shape[2],
            scales=scale.T.contiguous(),
            zeros=zero.T.contiguous(),
        )
        return {f".{n}": getattr(made, n) for n in ("qweight", "qzeros", "scales")}

    def unpack(module: str, parts: Mapping[str, Any]) -> Any:
        words, zeros, scale = parts.values()
        return packing.dequantize_gemm(
            words, zeros, scale.float(), 4, size if size > 0 else len(words)
        ).T

    model = assert_is_model_of(tmp_path, AWQ | {"group_size": size}, pack, unpack)
    assert model.dequantised == "awq (4 bits)"
