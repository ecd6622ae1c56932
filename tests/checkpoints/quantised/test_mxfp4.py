"""mxfp4, against transformers' own dequantiser and against bits by hand."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.checkpoints.load import load_model, params_digest
from expertjax.errors import InputError
from tests.checkpoints.quantised.folders import (
    LLAMA,
    assert_is_that_of_transformers,
    source_of,
)
from tests.tiny_models import make_tiny
from tests.torch_reference import load_torch

torch = pytest.importorskip("torch")
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.0.router"]}
GPT_OSS = LLAMA | {"num_local_experts": 3, "num_experts_per_tok": 2, "head_dim": 8}
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


def test_a_whole_model(tmp_path: Path) -> None:
    """Against a folder with the weights that transformers makes of the blocks."""
    from safetensors.torch import load_file, save_file

    mxfp4 = pytest.importorskip("transformers.integrations.mxfp4")
    plain = make_tiny(tmp_path / "plain", "GptOssForCausalLM", **GPT_OSS)
    packed = shutil.copytree(plain, tmp_path / "packed")
    exact = load_file(plain / "model.safetensors")
    random, kept = np.random.default_rng(0), dict(exact)
    for key in [key for key in exact if key.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = exact[key].shape
        blocks = random.integers(0, 256, (experts, outputs, inputs // 32, 16))
        scales = random.integers(121, 125, blocks.shape[:-1])
        parts = [torch.tensor(part.astype(np.uint8)) for part in (blocks, scales)]
        exact[key] = mxfp4.convert_moe_packed_tensors(*parts, dtype=torch.float32)
        del kept[key]
        kept |= dict(zip((f"{key}_blocks", f"{key}_scales"), parts, strict=True))
    for folder, tensors in ((plain, exact), (packed, kept)):
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((packed / "config.json").read_text())
    config |= {"quantization_config": MXFP4}
    (packed / "config.json").write_text(json.dumps(config))
    models = [load_model(str(folder)) for folder in (plain, packed)]
    assert models[1].dequantised == "mxfp4"
    assert len({params_digest(model.params) for model in models}) == 1
    theirs = load_torch(plain, "GptOssForCausalLM")
    assert_is_that_of_transformers(packed, theirs)


def test_scales_that_do_not_fit(tmp_path: Path) -> None:
    blocks = torch.zeros(1, 1, 2, 16, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"_scales \(1, 1, 1\) for _blocks"):
        read(tmp_path, blocks, torch.zeros(1, 1, 1, dtype=torch.uint8))
