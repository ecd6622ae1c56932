"""8-bit floats, against transformers' own dequantiser and against bits by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.errors import InputError
from tests.checkpoints.quantised.folders import (
    LLAMA,
    assert_is_model_of,
    assert_is_that_of_transformers,
    quantise_folder,
    read_weight,
    source_of,
)
from tests.tiny_models import make_tiny

torch = pytest.importorskip("torch")
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
BLOCKS = FP8 | {"weight_block_size": [2, 4]}
# e4m3: sign, four bits of exponent with 7 added, three of mantissa.
BITS = {
    0b0_0111_000: 1.0,
    0b0_0111_100: 1.5,
    0b1_1000_010: -2.5,
    0b0_0000_001: 2.0**-9,  # subnormal
    0b0_1111_110: 448.0,  # the largest
    0b1_0000_000: -0.0,
    0b0_0110_111: 0.9375,
    0b1_0111_001: -1.125,
}


def float8(octets: Any, shape: tuple[int, ...]) -> Any:
    numbers = torch.tensor(list(octets), dtype=torch.uint8)
    return numbers.view(torch.float8_e4m3fn).reshape(shape)


def test_bits_by_hand(tmp_path: Path) -> None:
    """Written by hand from the format: one row of eight bit patterns, one scale."""
    parts = {".weight": float8(BITS, (1, 8)), ".weight_scale": torch.tensor(0.5)}
    found = read_weight(tmp_path, FP8 | {"weight_block_size": None}, parts)
    wanted = np.array([[value / 2 for value in BITS.values()]], np.float32)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


def test_blocks_of_which_the_last_are_cut_off(tmp_path: Path) -> None:
    """Written by hand: 3 x 5 ones in blocks of 2 x 4."""
    ones = float8([0b0_0111_000] * 15, (3, 5))
    scale = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    parts = {".weight": ones, ".weight_scale_inv": scale}
    found = read_weight(tmp_path, BLOCKS, parts)
    wanted = [[1, 1, 1, 1, 2], [1, 1, 1, 1, 2], [3, 3, 3, 3, 4]]
    np.testing.assert_array_equal(found, np.float32(wanted))


def test_scales_that_are_exponents(tmp_path: Path) -> None:
    """Written by hand: e8m0, as its own type and as bytes."""
    octets = torch.tensor([[127, 130]], dtype=torch.uint8)
    for scale in (octets, octets.view(torch.float8_e8m0fnu)):
        parts = {".weight": float8(BITS, (1, 8)), ".weight_scale_inv": scale}
        found = read_weight(tmp_path, BLOCKS | {"scale_fmt": "ue8m0"}, parts)
        wanted = np.float32([*BITS.values()]) * np.float32([1] * 4 + [8] * 4)
        np.testing.assert_array_equal(found[0], wanted)


def test_rows_of_fbgemm(tmp_path: Path) -> None:
    """Written by hand: a scale for each row."""
    parts = {
        ".weight": float8(BITS, (2, 4)),
        ".weight_scale": torch.tensor([[2.0], [4.0]]),
        ".input_scale_ub": torch.tensor([1200.0]),
    }
    settings = {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}
    wanted = np.float32([*BITS.values()]).reshape(2, 4) * np.float32([[2], [4]])
    np.testing.assert_array_equal(read_weight(tmp_path, settings, parts), wanted)


def pack(module: str, weight: Any, size: tuple[int, int]) -> Mapping[str, Any]:
    """As DeepSeek's: the largest of a block is 448."""
    rows, columns = weight.shape
    blocks = weight.reshape(rows // size[0], size[0], columns // size[1], size[1])
    scale = blocks.abs().amax((1, 3)) / 448
    numbers = (blocks / scale[:, None, :, None]).reshape(weight.shape)
    parts = {".weight": numbers.to(torch.float8_e4m3fn), ".weight_scale_inv": scale}
    return parts | {".activation_scale": torch.tensor(0.1)}


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_whole_model_with_blocks(tmp_path: Path, suffix: str) -> None:
    """Against transformers' `Fp8Dequantize`, from both kinds of file."""
    fp8 = pytest.importorskip("transformers.integrations.finegrained_fp8")
    theirs = fp8.Fp8Dequantize(None)
    model = assert_is_model_of(
        tmp_path,
        FP8 | {"weight_block_size": [16, 32]},
        lambda module, weight: pack(module, weight, (16, 32)),
        lambda module, parts: theirs._dequantize_one(
            parts[".weight"], parts[".weight_scale_inv"]
        ),
        suffix=suffix,
    )
    assert model.dequantised == "fp8 (blocks of 16 x 32)"
    assert "quantization_config" not in model.attributes


def test_transformers_reads_the_same(tmp_path: Path) -> None:
    """Against its own model of the folder, dequantised."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    def packed(module: str, weight: Any) -> Mapping[str, Any]:
        parts = dict(pack(module, weight, (16, 32)))
        del parts[".activation_scale"]
        return parts

    folder = make_tiny(tmp_path / "m", "LlamaForCausalLM", **LLAMA)
    quantise_folder(folder, FP8 | {"weight_block_size": [16, 32]}, packed)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        quantization_config=transformers.FineGrainedFP8Config(
            dequantize=True, weight_block_size=(16, 32)
        ),
        dtype=torch.float32,
    )
    assert_is_that_of_transformers(folder, theirs)


def test_a_whole_model_with_one_scale_each(tmp_path: Path) -> None:
    """Against torch's own products, as vLLM's names have it."""

    def packed(module: str, weight: Any) -> Mapping[str, Any]:
        parts = pack(module, weight, tuple(weight.shape))
        scale = parts[".weight_scale_inv"].reshape(())
        return {".weight": parts[".weight"], ".weight_scale": scale} | {
            ".input_scale": torch.tensor(0.1)
        }

    model = assert_is_model_of(
        tmp_path,
        {"quant_method": "fp8", "activation_scheme": "static"},
        packed,
        lambda module, parts: parts[".weight"].float() * parts[".weight_scale"],
    )
    assert model.dequantised == "fp8"


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (torch.ones(2, 1), r"scales \(2, 1\) for \(4, 8\) in blocks of \(2, 4\)"),
        (torch.ones(3, 2), r"scales \(3, 2\)"),
    ],
)
def test_scales_that_do_not_fit(tmp_path: Path, scale: Any, message: str) -> None:
    parts = {".weight": float8([0] * 32, (4, 8)), ".weight_scale_inv": scale}
    with pytest.raises(InputError, match=message) as error:
        read_weight(tmp_path, BLOCKS, parts)
    assert "m.weight cannot be read as fp8 (blocks of 2 x 4)" in str(error.value)


def test_scales_of_what_is_not_quantised(tmp_path: Path) -> None:
    parts = {".weight": torch.ones(2, 4), ".weight_scale_inv": torch.ones(1, 1)}
    with pytest.raises(InputError, match=r"weight is of dtype float32, not float8_e4m"):
        read_weight(tmp_path, BLOCKS, parts)


def test_a_scale_without_its_weight(tmp_path: Path) -> None:
    tensors = {"m.weight_scale_inv": torch.ones(1, 1)}
    with pytest.raises(InputError, match=r"m\.weight lacks \.weight"):
        source_of(tmp_path, BLOCKS, tensors)


def test_two_scales_of_one_weight(tmp_path: Path) -> None:
    scale = torch.ones(1, 1)
    parts = {".weight": float8([0] * 8, (2, 4)), ".weight_scale_inv": scale}
    parts |= {".weight_scale": scale.clone()}
    with pytest.raises(InputError, match=r"both \.weight_scale_inv and \.weight_sca"):
        read_weight(tmp_path, BLOCKS, parts)
