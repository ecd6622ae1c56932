"""compressed-tensors, against the library and against bits by hand."""

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
)
from tests.tiny_models import make_tiny

torch = pytest.importorskip("torch")


def settings_of(form: str, *groups: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A config; groups are of all linear layers unless they have targets."""
    named = {
        f"group_{at}": {
            "targets": group.get("targets", ["Linear"]),
            "weights": {k: v for k, v in group.items() if k != "targets"},
            "input_activations": {"num_bits": 8, "dynamic": True},
            "output_activations": None,
        }
        for at, group in enumerate(groups)
    }
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": named,
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "quantization_status": "compressed",
        "global_compression_ratio": 1.5,
        "version": "0.12.0",
    } | more


INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 8}
INT8 = {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}
FLOAT8 = {"num_bits": 8, "type": "float", "strategy": "tensor"}


def words(*numbers: int) -> Any:
    return torch.tensor(np.array(numbers, np.uint32).astype(np.int32))


def packed_parts() -> dict[str, Any]:
    """Two rows of sixteen numbers: -8 to 7, and 7 to -8."""
    return {
        ".weight_packed": torch.stack(
            [words(0x7654_3210, 0xFEDC_BA98), words(0x89AB_CDEF, 0x0123_4567)]
        ),
        ".weight_scale": torch.tensor([[1.0, 2.0], [0.5, 4.0]]),
        ".weight_shape": torch.tensor([2, 16]),
    }


def test_packed_bits_by_hand(tmp_path: Path) -> None:
    """Written by hand: 8 is added, and a word's lowest bits come first."""
    found = read_weight(tmp_path, settings_of("pack-quantized", INT4), packed_parts())
    up = np.arange(-8, 8, dtype=np.float32)
    scale = np.repeat(np.float32([[1, 2], [0.5, 4]]), 8, axis=1)
    np.testing.assert_array_equal(found, np.stack([up, up[::-1]]) * scale)


def test_packed_zero_points_by_hand(tmp_path: Path) -> None:
    """Written by hand: packed along the outputs, 8 added, for each group."""
    # Of the first group -7 and 1, of the second 0 and -8.
    parts = packed_parts() | {".weight_zero_point": words(0x91, 0x08)[None]}
    settings = settings_of("pack-quantized", INT4 | {"symmetric": False})
    found = read_weight(tmp_path, settings, parts)
    up = np.arange(-8, 8, dtype=np.float32)
    zero = np.repeat(np.float32([[-7, 0], [1, -8]]), 8, axis=1)
    scale = np.repeat(np.float32([[1, 2], [0.5, 4]]), 8, axis=1)
    np.testing.assert_array_equal(found, (np.stack([up, up[::-1]]) - zero) * scale)


def test_groups_in_any_order(tmp_path: Path) -> None:
    """Written by hand: `weight_g_idx`, which earlier versions of the library wrote."""
    group = np.arange(16) % 2
    settings = settings_of("pack-quantized", INT4 | {"actorder": "group"})
    parts = packed_parts() | {".weight_g_idx": torch.tensor(group, dtype=torch.int32)}
    found = read_weight(tmp_path / "a", settings, parts)
    up = np.arange(-8, 8, dtype=np.float32)
    scale = np.float32([[1, 2], [0.5, 4]])[:, group]
    np.testing.assert_array_equal(found, np.stack([up, up[::-1]]) * scale)
    none = packed_parts() | {".weight_g_idx": torch.full((16,), -1)}
    np.testing.assert_array_equal(
        read_weight(tmp_path / "b", settings, none),
        read_weight(tmp_path / "c", settings, packed_parts()),
    )


def test_three_bits_by_hand(tmp_path: Path) -> None:
    """Written by hand: 32 numbers in three words; 10 in each of four is refused."""
    numbers = [(5 * at + at // 3) % 8 for at in range(32)]
    stream = sum(number << (3 * at) for at, number in enumerate(numbers))
    settings = settings_of("pack-quantized", INT4 | {"num_bits": 3})
    parts = {
        ".weight_packed": words(*(stream >> s & 0xFFFF_FFFF for s in (0, 32, 64)))[
            None
        ],
        ".weight_scale": torch.ones(1, 1),
        ".weight_shape": torch.tensor([1, 32]),
    }
    found = read_weight(tmp_path / "a", settings, parts)
    np.testing.assert_array_equal(found, np.float32([numbers]) - 4)
    loose = parts | {".weight_packed": torch.zeros(1, 4, dtype=torch.int32)}
    with pytest.raises(InputError, match="4 words for 32 numbers of 3 bits"):
        read_weight(tmp_path / "b", settings, loose)
    # Ten numbers are one word either way.
    both = {".weight_packed": words(0)[None], ".weight_shape": torch.tensor([1, 10])}
    with pytest.raises(InputError, match="1 words for 10 numbers of 3 bits"):
        read_weight(tmp_path / "c", settings, parts | both)


def test_integers_by_hand(tmp_path: Path) -> None:
    """Written by hand: two rows, each with a scale and a zero point."""
    parts = {
        ".weight": torch.tensor([[-128, 127], [3, 0]], dtype=torch.int8),
        ".weight_scale": torch.tensor([[0.5], [2.0]]),
        ".weight_zero_point": torch.tensor([[-2], [1]], dtype=torch.int8),
        ".input_scale": torch.tensor([0.1]),
    }
    settings = settings_of("int-quantized", INT8 | {"symmetric": False})
    found = read_weight(tmp_path, settings, parts)
    np.testing.assert_array_equal(found, np.float32([[-63, 64.5], [4, -2]]))


@pytest.mark.parametrize(
    ("group", "change", "message"),
    [
        (INT4 | {"symmetric": False}, {}, ".weight_zero_point is missing"),
        (INT4, {".weight_scale": torch.ones(2, 3)}, "16 inputs in 3 groups"),
        (INT4, {".weight_scale": torch.ones(3, 2)}, "scales and zeros"),
        (INT4, {".weight_shape": torch.tensor([2, 20])}, "2 words for 20 numbers"),
        (FLOAT8, {}, "weight is of dtype int8, not float8_e4m3fn"),
    ],
)
def test_parts_that_do_not_fit(
    tmp_path: Path, group: Mapping[str, Any], change: Mapping[str, Any], message: str
) -> None:
    parts = packed_parts() | change
    if group is FLOAT8:
        parts = {".weight": torch.ones(2, 2).char(), ".weight_scale": torch.ones(1)}
    with pytest.raises(InputError, match=message):
        read_weight(tmp_path, settings_of("naive-quantized", group), parts)


def test_which_group_a_module_is_of(tmp_path: Path) -> None:
    """Names go before patterns, and these before classes; two classes are refused."""
    parts = {
        ".weight": torch.full((2, 8), 3, dtype=torch.int8),
        ".weight_scale": torch.ones(2, 1),
        ".weight_zero_point": torch.ones(2, 1, dtype=torch.int8),
    }
    offset = INT8 | {"symmetric": False}
    for targets, wanted in ((["re:.*"], 2), (["m"], 2), (["re:n"], 3), (["n"], 3)):
        groups = INT8, offset | {"targets": targets}
        settings = settings_of("int-quantized", *groups)
        folder = tmp_path / targets[0].replace("*", "all").replace(":", "")
        np.testing.assert_array_equal(
            read_weight(folder, settings, parts), np.full((2, 8), wanted)
        )
    settings = settings_of("int-quantized", INT8, offset | {"targets": ["Embedding"]})
    with pytest.raises(InputError, match="which of 2 config_groups is this"):
        read_weight(tmp_path / "two", settings, parts)


GROUP = {"strategy": "group", "group_size": 16}
BLOCK = {"num_bits": 8, "type": "float", "strategy": "block"}


@pytest.mark.parametrize(
    ("form", "group"),
    [
        ("float-quantized", FLOAT8),
        ("float-quantized", FLOAT8 | {"strategy": "channel"}),
        ("float-quantized", BLOCK | {"block_structure": [16, 32]}),
        ("naive-quantized", FLOAT8 | GROUP),
        ("int-quantized", INT8),
        ("int-quantized", INT8 | {"symmetric": False}),
        ("int-quantized", INT8 | {"strategy": "tensor", "symmetric": False}),
        ("pack-quantized", INT4 | GROUP),
        ("pack-quantized", INT4 | GROUP | {"symmetric": False}),
        ("pack-quantized", INT4 | {"strategy": "channel", "group_size": None}),
        ("pack-quantized", INT8 | GROUP | {"symmetric": False}),
        ("pack-quantized", INT4 | GROUP | {"num_bits": 5}),
        ("pack-quantized", INT4 | GROUP | {"num_bits": 3, "symmetric": False}),
    ],
)
def test_a_whole_model(tmp_path: Path, form: str, group: Mapping[str, Any]) -> None:
    """Against the library's own compressors, in float32."""
    library = Library(form, group)
    model = assert_is_model_of(tmp_path, library.settings, library.pack, library.unpack)
    kind, bits = group["type"], group["num_bits"]
    assert model.dequantised == f"compressed-tensors ({kind}{bits})"


@pytest.mark.parametrize(
    ("form", "group"),
    [
        ("pack-quantized", INT4 | GROUP),
        ("float-quantized", FLOAT8 | {"strategy": "channel"}),
    ],
)
def test_transformers_reads_the_same(
    tmp_path: Path, form: str, group: Mapping[str, Any]
) -> None:
    """Against its own model of the folder, whose activations are left alone."""
    pytest.importorskip("accelerate")
    transformers = pytest.importorskip("transformers")
    library = Library(form, group)
    settings = library.settings
    settings["config_groups"]["group_0"]["input_activations"] = None
    folder = make_tiny(tmp_path / "m", "LlamaForCausalLM", **LLAMA)
    quantise_folder(folder, settings, library.pack)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32
    )
    assert_is_that_of_transformers(folder, theirs)


class Library:
    """Weights as compressed-tensors packs and unpacks them."""

    def __init__(self, form: str, group: Mapping[str, Any]) -> None:
        ours = pytest.importorskip("compressed_tensors.quantization")
        base = pytest.importorskip("compressed_tensors.compressors")
        self.helpers = pytest.importorskip(
            "compressed_tensors.quantization.utils.helpers"
        )
        self.args = ours.QuantizationArgs(**group)
        self.scheme = ours.QuantizationScheme(targets=["Linear"], weights=self.args)
        self.compressor = base.BaseCompressor.get_value_from_registry(form)
        self.settings = settings_of(form, self.args.model_dump(mode="json"))

    def pack(self, module: str, weight: Any) -> Mapping[str, Any]:
        low, high = self._extremes(weight)
        scale, zero = self.helpers.calculate_qparams(low, high, self.args)
        parts = {"weight": weight, "weight_scale": scale.float()}
        parts["weight_zero_point"] = zero
        packed = self.compressor.compress(parts, self.scheme)
        return {f".{name}": value for name, value in packed.items()}

    def unpack(self, module: str, parts: Mapping[str, Any]) -> Any:
        named = {name[1:]: value for name, value in parts.items()}
        return self.compressor.decompress(named, self.scheme)["weight"]

    def _extremes(self, weight: Any) -> tuple[Any, Any]:
        """The smallest and largest of what shares a scale."""
        (rows, columns), args = weight.shape, self.args
        if args.strategy == "tensor":
            return weight.amin().reshape(1), weight.amax().reshape(1)
        height, width = 1, columns
        if args.strategy == "group":
            width = args.group_size
        if args.strategy == "block":
            height, width = args.block_structure
        blocks = weight.reshape(rows // height, height, columns // width, width)
        return blocks.amin((1, 3)), blocks.amax((1, 3))
