"""GPTQ, against GPTQModel's own `TorchLinear` and against bits by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.checkpoints.load import load_model
from expertjax.errors import InputError
from tests.checkpoints.quantised.folders import (
    assert_is_model_of,
    quantise_folder,
    read_weight,
)
from tests.tiny_models import make_tiny_gpt2

torch = pytest.importorskip("torch")
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": False}
SECOND = GPTQ | {"checkpoint_format": "gptq_v2"}


def words(*numbers: int) -> Any:
    return torch.tensor(np.array(numbers, np.uint32).astype(np.int32))


@pytest.mark.parametrize(("version", "zeros"), [("gptq", 0x6), ("gptq_v2", 0x7)])
def test_bits_by_hand(tmp_path: Path, version: str, zeros: int) -> None:
    """Written by hand: eight inputs in a word, from its lowest bits; one output."""
    parts = {
        ".qweight": words(0xFEDC_3210)[:, None],
        ".qzeros": words(zeros)[:, None],
        ".scales": torch.tensor([[0.5]], dtype=torch.float16),
    }
    found = read_weight(tmp_path, GPTQ | {"format": version}, parts)
    numbers = np.float32([0, 1, 2, 3, 0xC, 0xD, 0xE, 0xF])
    np.testing.assert_array_equal(found, [(numbers - 7) / 2])


def test_three_bits_by_hand(tmp_path: Path) -> None:
    """Written by hand: 32 numbers in three words, two of which lie in two of them."""
    numbers = [(5 * at + at // 3) % 8 for at in range(32)]
    assert numbers[10] != numbers[21]
    stream = sum(number << (3 * at) for at, number in enumerate(numbers))
    packed = words(*(stream >> shift & 0xFFFF_FFFF for shift in (0, 32, 64)))
    zeros = sum((at % 8) << (3 * at) for at in range(32))  # of 32 outputs
    parts = {
        ".qweight": packed[:, None].expand(3, 32),
        ".qzeros": words(*(zeros >> shift & 0xFFFF_FFFF for shift in (0, 32, 64)))[
            None
        ],
        ".scales": torch.ones(1, 32, dtype=torch.float16),
    }
    for version, added in (("gptq", 1), ("gptq_v2", 0)):
        settings = GPTQ | {"bits": 3, "format": version}
        found = read_weight(tmp_path / version, settings, parts)
        zero = np.float32([(at % 8 + added) % 8 for at in range(32)])
        np.testing.assert_array_equal(found, np.float32(numbers) - zero[:, None])


def test_groups_in_any_order(tmp_path: Path) -> None:
    """Written by hand: `g_idx` says whose scale and zero point an input has."""
    group = [2, 0, 1, 1, 0, 2, 2, 0]
    parts = {
        ".qweight": words(0x7654_3210)[:, None],
        ".qzeros": words(1, 2, 3)[:, None],
        ".scales": torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float16),
        ".g_idx": torch.tensor(group, dtype=torch.int32),
    }
    found = read_weight(tmp_path, SECOND | {"desc_act": True}, parts)
    wanted = [(at - (g + 1)) * 2.0**g for at, g in enumerate(group)]
    np.testing.assert_array_equal(found, np.float32([wanted]))


def test_zero_points_that_borrow(tmp_path: Path) -> None:
    """GPTQModel subtracts 0x11111111 from words: zeros 0, 5 become 0x4F."""
    parts = {
        ".qweight": torch.zeros(1, 8, dtype=torch.int32),
        ".qzeros": words((0x50 - 0x1111_1111) % 2**32)[None],
        ".scales": torch.ones(1, 8, dtype=torch.float16),
    }
    found = read_weight(tmp_path, GPTQ, parts)
    np.testing.assert_array_equal(found[:, 0], [0, -5, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({".g_idx": torch.tensor([3] * 8)}, "groups 3 to 3 of 3 scales"),
        ({".g_idx": torch.tensor([-1] * 8)}, "groups -1 to -1 of 3 scales"),
        ({".g_idx": torch.tensor([0] * 7)}, r"1 rows of .qweight for 7 inputs"),
        ({".scales": torch.ones(4, 1)}, r"scales and zeros \[\(4, 1\), \(3, 1\)\]"),
        ({".qweight": torch.zeros(1, 1)}, ".qweight is of dtype float32, not int32"),
    ],
)
def test_parts_that_do_not_fit(
    tmp_path: Path, change: Mapping[str, Any], message: str
) -> None:
    parts = {
        ".qweight": words(0x7654_3210)[:, None],
        ".qzeros": words(1, 2, 3)[:, None],
        ".scales": torch.ones(3, 1),
        ".g_idx": torch.tensor([0, 1, 2, 0, 1, 2, 0, 1], dtype=torch.int32),
    }
    read_weight(tmp_path / "right", SECOND, parts)
    with pytest.raises(InputError, match=message):
        read_weight(tmp_path / "wrong", SECOND, parts | change)


class Library:
    """Weights as GPTQModel packs and unpacks them."""

    def __init__(self, bits: int, sym: bool, desc_act: bool, version: str) -> None:
        qlinear = pytest.importorskip("gptqmodel.nn_modules.qlinear.torch")
        self.kind, self.bits, self.sym, self.version = (
            qlinear.TorchLinear,
            bits,
            sym,
            version,
        )
        self.desc_act, self.size, self.random = desc_act, 16, np.random.default_rng(0)
        self.settings = GPTQ | {"bits": bits, "sym": sym, "desc_act": desc_act}
        self.settings |= {"format": version, "checkpoint_format": version}

    def pack(self, module: str, weight: Any) -> Mapping[str, Any]:
        rows, columns = weight.shape
        group = np.arange(columns) // self.size
        if self.desc_act:
            group = self.random.permutation(group)
        group = torch.tensor(group, dtype=torch.int32)
        most, count = 2**self.bits - 1, columns // self.size
        low = torch.stack([weight[:, group == g].amin(1) for g in range(count)], 1)
        high = torch.stack([weight[:, group == g].amax(1) for g in range(count)], 1)
        scale = ((high - low) / most).half().float()
        zero = torch.full_like(scale, (most + 1) // 2)
        if not self.sym:
            zero = (-low / scale).round().clamp(1, most)
        linear = torch.nn.Linear(columns, rows, bias=False)
        numbers = (weight / scale[:, group] + zero[:, group]).round().clamp(0, most)
        linear.weight.data = (numbers - zero[:, group]) * scale[:, group]
        packed = self._linear(rows, columns)
        packed.pack(linear, scale, zero, group)
        if self.version == "gptq":
            self._convert(packed, "convert_gptq_v2_to_v1_format_module")
        names = ("qweight", "qzeros", "scales", "g_idx")
        return {f".{name}": getattr(packed, name).clone() for name in names}

    def unpack(self, module: str, parts: Mapping[str, Any]) -> Any:
        columns, rows = len(parts[".g_idx"]), parts[".scales"].shape[1]
        packed = self._linear(rows, columns)
        for name, value in parts.items():
            packed.register_buffer(name[1:], value.clone())
        packed.scales = packed.scales.float()
        if self.version == "gptq":
            packed.qzero_format(format=1)
            self._convert(packed, "convert_gptq_v1_to_v2_format_module")
        return packed.dequantize_weight().T.float()

    def _linear(self, rows: int, columns: int) -> Any:
        return self.kind(self.bits, self.size, self.sym, self.desc_act, columns, rows)

    def _convert(self, packed: Any, name: str) -> None:
        convert = pytest.importorskip("gptqmodel.utils.model")
        if "v2_to_v1" in name:
            config = pytest.importorskip("gptqmodel").QuantizeConfig(bits=self.bits)
            getattr(convert, name)(packed, config)
        else:
            getattr(convert, name)(packed, self.bits, torch.int32)


@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@pytest.mark.parametrize(
    ("bits", "sym", "desc_act"),
    [(2, False, False), (3, True, True), (4, True, False), (8, False, True)],
)
def test_a_whole_model(
    tmp_path: Path, bits: int, sym: bool, desc_act: bool, version: str
) -> None:
    """Against GPTQModel."""
    library = Library(bits, sym, desc_act, version)
    model = assert_is_model_of(tmp_path, library.settings, library.pack, library.unpack)
    assert model.dequantised == f"gptq ({bits} bits)"


def test_weights_of_conv1d(tmp_path: Path) -> None:
    """Written by hand: packed the way of nn.Linear, as its quantiser does."""
    folder = make_tiny_gpt2(tmp_path / "m")
    plain = np.asarray(load_model(str(folder)).params["blocks"]["c_fc"]["kernel"][...])

    def pack(module: str, weight: Any) -> Mapping[str, Any]:
        inputs, outputs = weight.shape
        scale = (weight.abs().amax(0, keepdim=True) / 127).half()
        numbers = (weight / scale).round().numpy().astype(np.int64) + 128
        octets = numbers.reshape(inputs // 4, 4, outputs).astype(np.uint8)
        packed = np.ascontiguousarray(octets.swapaxes(1, 2)).view("<i4")[..., 0]
        zeros = torch.full((1, outputs // 4), 0x7F7F7F7F, dtype=torch.int32)
        return {".qweight": torch.tensor(packed), ".qzeros": zeros, ".scales": scale}

    settings = GPTQ | {"bits": 8, "group_size": -1}
    quantise_folder(folder, settings, pack, ends=("c_fc.weight", "c_proj.weight"))
    kernel = np.asarray(load_model(str(folder)).params["blocks"]["c_fc"]["kernel"][...])
    assert kernel.shape == plain.shape
    error = np.abs(kernel - plain) / np.abs(plain).max(1, keepdims=True)
    assert 0 < error.max() < 0.6 / 127
