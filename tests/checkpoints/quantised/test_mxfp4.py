"""mxfp4, against transformers' own dequantiser and against bits by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.errors import InputError
from tests.checkpoints.quantised.folders import source_of

torch = pytest.importorskip("torch")
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.0.router"]}
KEY = "model.layers.0.mlp.experts.gate_up_proj"


def read(folder: Path, blocks: Any, scales: Any) -> np.ndarray:
    tensors = {f"{KEY}_blocks": blocks, f"{KEY}_scales": scales}
    tensors[f"{KEY}_bias"] = torch.ones(2)
    source = source_of(folder, MXFP4, tensors)
    assert source.shapes.keys() == {KEY, f"{KEY}_bias"}
    value = source.read(KEY)
    assert value.dtype == np.float32
    assert value.shape == source.shapes[KEY]
    return value


def test_bits_by_hand(tmp_path: Path) -> None:
    """Written by hand: all sixteen codes, the first of a byte in its lower half."""
    octets = [0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE] * 2
    blocks = torch.tensor(octets, dtype=torch.uint8).reshape(1, 1, 1, 16)
    found = read(tmp_path, blocks, torch.tensor([[[128]]], dtype=torch.uint8))
    half = [0.0, 0.5, 1, 1.5, 2, 3, 4, 6]
    codes = np.float32([*half, *(-value for value in half)] * 2)
    np.testing.assert_array_equal(found, codes[None, :, None] * 2)
    np.testing.assert_array_equal(np.signbit(found[0, :, 0]), np.signbit(codes))


def test_experts_of_gpt_oss(tmp_path: Path) -> None:
    """Against transformers' `convert_moe_packed_tensors`: 3 experts, 4 outputs."""
    mxfp4 = pytest.importorskip("transformers.integrations.mxfp4")
    random = np.random.default_rng(0)
    blocks = torch.tensor(random.integers(0, 256, (3, 4, 2, 16)).astype(np.uint8))
    scales = torch.tensor(random.integers(100, 150, (3, 4, 2)).astype(np.uint8))
    wanted = mxfp4.convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    found = read(tmp_path, blocks, scales)
    assert found.shape == (3, 64, 4)
    np.testing.assert_array_equal(found, wanted.numpy())


def test_scales_that_do_not_fit(tmp_path: Path) -> None:
    blocks = torch.zeros(1, 1, 2, 16, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"_scales \(1, 1, 1\) for _blocks"):
        read(tmp_path, blocks, torch.zeros(1, 1, 1, dtype=torch.uint8))
