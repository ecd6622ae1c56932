"""bitsandbytes, against the library and against bits by hand."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.checkpoints.load import load_model
from expertjax.errors import InputError
from tests.checkpoints.quantised.folders import (
    LLAMA,
    assert_is_model_of,
    assert_is_that_of_transformers,
    quantise_folder,
    read_weight,
)
from tests.tiny_models import make_tiny, make_tiny_gpt2

torch = pytest.importorskip("torch")
FOUR = {"quant_method": "bitsandbytes", "load_in_4bit": True, "_load_in_4bit": True}
FOUR |= {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "float32"}
EIGHT = {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_threshold": 6}
STATE = ".weight.quant_state.bitsandbytes__nf4"


def state_of(**said: Any) -> Any:
    text = json.dumps({"quant_type": "nf4", "dtype": "float32"} | said)
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def nested_parts() -> dict[str, Any]:
    """Ten codes in blocks of four, scales of which two are one block."""
    return {
        # The first code of a byte is in its upper half.
        ".weight": torch.tensor([[0x01], [0x23], [0x45], [0x67], [0x89]]).byte(),
        ".weight.absmax": torch.tensor([0, 1, 2], dtype=torch.uint8),
        ".weight.quant_map": torch.arange(16.0),
        ".weight.nested_absmax": torch.tensor([1.0, 8.0]),
        ".weight.nested_quant_map": torch.arange(256.0) / 4,
        STATE: state_of(
            shape=[2, 5], blocksize=4, nested_blocksize=2, nested_offset=0.5
        ),
    }


def test_bits_by_hand(tmp_path: Path) -> None:
    """Written by hand: codes are their own values; scales 0.5, 0.75 and 4.5."""
    found = read_weight(tmp_path, FOUR, nested_parts())
    scale = np.repeat(np.float32([0.5, 0.75, 4.5]), [4, 4, 2])
    np.testing.assert_array_equal(found, (np.arange(10) * scale).reshape(2, 5))


def test_rows_by_hand(tmp_path: Path) -> None:
    """Written by hand: 127 is the largest of a row."""
    parts = {
        ".weight": torch.tensor([[127, -127], [1, 0]], dtype=torch.int8),
        ".SCB": torch.tensor([2.0, 127.0]),
        ".weight_format": torch.tensor(0, dtype=torch.uint8),
    }
    found = read_weight(tmp_path, EIGHT, parts)
    np.testing.assert_allclose(found, [[2, -2], [1, 0]], rtol=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({".weight.absmax": torch.zeros(4).byte()}, "2 scales for 4|4 scales for 10"),
        ({".weight": torch.zeros(6, 1).byte()}, r"12 codes for shape \[2, 5\]"),
        ({".weight.absmax": torch.ones(3)}, r"absmax is of dtype float32, not uint8"),
        ({STATE: state_of(shape=[2, 5], blocksize=0)}, "'blocksize': 0"),
        ({STATE: torch.zeros(4).byte()}, "Expecting value"),
        ({STATE: state_of(shape=[2, 5])}, "'blocksize'"),
        ({STATE: torch.tensor(list(b"[]")).byte()}, "list indices must be"),
        ({".weight.nested_absmax": torch.ones(3)}, "3 scales for 3 in blocks of 2"),
    ],
)
def test_parts_that_do_not_fit(
    tmp_path: Path, change: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_weight(tmp_path, FOUR, nested_parts() | change)


def test_orders_of_old_kernels_are_refused(tmp_path: Path) -> None:
    parts = {
        ".weight": torch.zeros(2, 2, dtype=torch.int8),
        ".SCB": torch.ones(2),
        ".weight_format": torch.tensor(1, dtype=torch.uint8),
    }
    with pytest.raises(InputError, match="in the order of an old kernel"):
        read_weight(tmp_path, EIGHT, parts)


def pack_four(weight: Any, kind: str, double: bool, storage: Any) -> dict[str, Any]:
    library = pytest.importorskip("bitsandbytes")
    packed, state = library.functional.quantize_4bit(
        weight.contiguous(),
        quant_type=kind,
        compress_statistics=double,
        quant_storage=storage,
    )
    named = {f".weight.{k}": v for k, v in state.as_dict(packed=True).items()}
    return {".weight": packed, **named}


def unpack_four(parts: Mapping[str, Any]) -> Any:
    library = pytest.importorskip("bitsandbytes")
    said = {k: v for k, v in parts.items() if k != ".weight"}
    state = library.functional.QuantState.from_dict(said, torch.device("cpu"))
    return library.functional.dequantize_4bit(parts[".weight"], state)


@pytest.mark.parametrize(
    ("kind", "double", "storage"),
    [
        ("nf4", True, torch.uint8),
        ("nf4", False, torch.bfloat16),
        ("fp4", True, torch.float32),
        ("fp4", False, torch.uint8),
    ],
)
def test_a_whole_model_of_codes(
    tmp_path: Path, kind: str, double: bool, storage: Any
) -> None:
    """Against bitsandbytes."""
    model = assert_is_model_of(
        tmp_path,
        FOUR | {"bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": double},
        lambda module, weight: pack_four(weight, kind, double, storage),
        lambda module, parts: unpack_four(parts),
    )
    assert model.dequantised == f"bitsandbytes ({kind})"


def test_a_whole_model_of_rows(tmp_path: Path) -> None:
    """Against bitsandbytes."""
    library = pytest.importorskip("bitsandbytes")

    def pack(module: str, weight: Any) -> Mapping[str, Any]:
        numbers, scale, _ = library.functional.int8_vectorwise_quant(weight.half())
        parts = {".weight": numbers, ".SCB": scale}
        return parts | {".weight_format": torch.tensor(0, dtype=torch.uint8)}

    model = assert_is_model_of(
        tmp_path,
        EIGHT,
        pack,
        lambda module, parts: library.functional.int8_vectorwise_dequant(
            parts[".weight"], parts[".SCB"]
        ),
    )
    assert model.dequantised == "bitsandbytes (int8)"


def test_weights_of_conv1d(tmp_path: Path) -> None:
    """Against bitsandbytes: transformers gives it the transposed weight."""
    pytest.importorskip("bitsandbytes")
    folder, wanted = make_tiny_gpt2(tmp_path / "m"), {}

    def pack(module: str, weight: Any) -> Mapping[str, Any]:
        parts = pack_four(weight.T, "nf4", True, torch.uint8)
        wanted[module] = unpack_four(parts).numpy().T
        return parts

    quantise_folder(folder, FOUR, pack, ends=("c_fc.weight", "attn.c_proj.weight"))
    blocks = load_model(str(folder)).params["blocks"]
    for module, value in wanted.items():
        _, _, layer, part, name = module.split(".")
        kernel = blocks["c_fc" if part == "mlp" else f"{name}"]["kernel"][...]
        np.testing.assert_array_equal(np.asarray(kernel[int(layer)]), value)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_folder_that_transformers_quantised(
    tmp_path: Path, family: str, bits: int
) -> None:
    """Against transformers' `dequantize`; of 4 bits also its quantised model."""
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    transformers = pytest.importorskip("transformers")
    if family == "llama":
        plain = make_tiny(tmp_path / "m", "LlamaForCausalLM", **LLAMA)
    else:
        plain = make_tiny_gpt2(tmp_path / "m")
    settings = transformers.BitsAndBytesConfig(
        **{f"load_in_{bits}bit": True}, bnb_4bit_use_double_quant=True
    )
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        plain, quantization_config=settings, dtype=torch.float32
    )
    theirs.save_pretrained(tmp_path / "q")
    shutil.copy(plain / "tokenizer.json", tmp_path / "q")
    if bits == 4:
        assert_is_that_of_transformers(tmp_path / "q", theirs)
    theirs.dequantize(dtype=torch.float32)
    assert_is_that_of_transformers(tmp_path / "q", theirs.float())
