"""Every kind of quantisation that the gguf package knows, and files in parts."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.checkpoints import gguf_file
from expertjax.checkpoints.gguf_file import GGUFFile
from expertjax.checkpoints.load import load_model, params_digest
from expertjax.errors import InputError
from tests.checkpoints.gguf_writer import converted, sizes, tokens_of, write_folder
from tests.checkpoints.test_gguf import SIZES
from tests.tiny_models import make_tiny

gguf = pytest.importorskip("gguf")
KINDS = """
    BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K TQ1_0 TQ2_0 MXFP4 NVFP4
    IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S IQ1_M IQ4_NL IQ4_XS
""".split()


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder. Do not change it."""
    return make_tiny(tmp_path_factory.mktemp("gguf") / "m", "LlamaForCausalLM", **SIZES)


def write(path: Path, llama: Path, name: str, data: np.ndarray, kind: str) -> GGUFFile:
    """A file with one tensor."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in sizes(llama, "llama").items():
        add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
        add(f"llama.{key}", value)
    number = getattr(gguf.GGMLQuantizationType, kind)
    writer.add_tensor(f"{name}.weight", data, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GGUFFile(path)


def octets_of(kind: str, rows: int, values: int) -> np.ndarray:
    number = getattr(gguf.GGMLQuantizationType, kind)
    block, size = gguf.GGML_QUANT_SIZES[number]
    shape = (rows, values // block * size)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # some scales are infinite
def test_every_kind(
    kind: str, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the gguf package, on random bytes; a few rows at a time."""
    monkeypatch.setattr(gguf_file, "_ROWS_VALUES", 1024)
    octets = octets_of(kind, 9, 512)
    file = write(tmp_path / "x.gguf", llama, "output", octets, kind)
    wanted = gguf.dequantize(octets, getattr(gguf.GGMLQuantizationType, kind))
    assert (
        file.shapes == {"lm_head.weight": (9, 512)} == {"lm_head.weight": wanted.shape}
    )
    found = file.read("lm_head.weight")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)
    assert np.isfinite(found).any()
    assert file.dequantised == ("" if kind == "BF16" else f"gguf ({kind})")


def test_none_is_left_out() -> None:
    """What gguf knows beyond these is to be added here."""
    known = {kind.name for kind in gguf.quants._type_traits}
    assert known - set(KINDS) <= {"F32", "F16"}


def half(value: float) -> list[int]:
    return list(np.float16(value).tobytes())


HALVES = [0x10 * (15 - at) + at for at in range(16)]  # 0 to 15, then 15 to 0
BITS: dict[str, tuple[list[int], Any]] = {
    "Q8_0": (
        [*half(0.5), *range(16), *range(240, 256)],
        [*(at / 2 for at in range(16)), *((at - 256) / 2 for at in range(240, 256))],
    ),
    # The first sixteen are in the lower halves.
    "Q4_0": (
        [*half(2), *HALVES],
        [*(2 * (at - 8) for at in range(16)), *(2 * (7 - at) for at in range(16))],
    ),
    "Q4_1": (
        [*half(2), *half(-3), *HALVES],
        [*(2 * at - 3 for at in range(16)), *(2 * (15 - at) - 3 for at in range(16))],
    ),
    # A power of two, of 127 less; codes as OCP's e2m1.
    "MXFP4": (
        [129, *HALVES],
        np.float32([0, 2, 4, 6, 8, 12, 16, 24, -0.0, -2, -4, -6, -8, -12, -16, -24])[
            [*range(16), *range(15, -1, -1)]
        ],
    ),
}


@pytest.mark.parametrize("kind", BITS)
def test_bits_by_hand(kind: str, llama: Path, tmp_path: Path) -> None:
    """Written by hand from llama.cpp's ggml-common.h: one block of 32."""
    octets, wanted = BITS[kind]
    data = np.array([octets], np.uint8)
    file = write(tmp_path / "x.gguf", llama, "output", data, kind)
    np.testing.assert_array_equal(file.read("lm_head.weight"), np.float32([wanted]))


def test_numbers_of_64_bits(llama: Path, tmp_path: Path) -> None:
    data = np.random.default_rng(0).standard_normal((3, 8))
    file = write(tmp_path / "x.gguf", llama, "output", data, "F64")
    np.testing.assert_array_equal(file.read("lm_head.weight"), data.astype("f4"))
    assert file.dequantised == ""


@pytest.mark.parametrize("kind", ["Q8_1", "Q8_K"])
def test_kinds_that_gguf_does_not_dequantise(
    kind: str, llama: Path, tmp_path: Path
) -> None:
    """They are of activations."""
    octets = octets_of(kind, 2, 256)
    file = write(tmp_path / "x.gguf", llama, "output", octets, kind)
    with pytest.raises(InputError, match=f"cannot be dequantised from {kind}"):
        file.read("lm_head.weight")


def write_parts(folder: Path, llama: Path, per_part: int) -> list[Path]:
    """The model in parts, as the gguf package writes them."""
    folder.mkdir()
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama", split_max_tensors=per_part)
    pairs = {f"llama.{k}": v for k, v in sizes(llama, "llama").items()}
    pairs |= {f"tokenizer.ggml.{k}": v for k, v in tokens_of(llama).items()}
    for name, value in pairs.items():
        kind = {list: "array", int: "uint32", float: "float32", str: "string"}
        getattr(writer, f"add_{kind[type(value)]}")(name, value)
    for name, tensor in converted(llama, "llama").items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.iterdir())


def test_parts_are_one_model(llama: Path, tmp_path: Path) -> None:
    parts = write_parts(tmp_path / "parts", llama, 11)
    assert [part.name for part in parts] == [
        f"tiny-0000{at}-of-00003.gguf" for at in (1, 2, 3)
    ]
    whole = load_model(str(write_folder(llama, tmp_path / "w.gguf", "llama")))
    for path in (*parts, tmp_path / "parts"):
        model = load_model(str(path))
        assert model.config == whole.config
        assert params_digest(model.params) == params_digest(whole.params)
        assert model.name == ("parts" if path.is_dir() else "tiny")
    text = "The players kicked"
    assert model.tokenizer(text)["input_ids"] == whole.tokenizer(text)["input_ids"]


def test_parts_that_are_missing(llama: Path, tmp_path: Path) -> None:
    parts = write_parts(tmp_path / "parts", llama, 11)
    parts[1].unlink()
    with pytest.raises(InputError, match=r"parts are missing:\s.*-00002-of-00003"):
        load_model(str(parts[2]))


def test_parts_of_another_model(llama: Path, tmp_path: Path) -> None:
    parts = write_parts(tmp_path / "parts", llama, 11)
    shutil.copy(parts[2], parts[1])
    with pytest.raises(InputError, match="is part 3 of 3, not 2 of 3"):
        load_model(str(parts[0]))
    lonely = shutil.copy(parts[0], tmp_path / "lonely.gguf")
    with pytest.raises(InputError, match=r"lonely\.gguf is part 1 of 3, not 1 of 1"):
        load_model(str(lonely))
    fewer = write_parts(tmp_path / "fewer", llama, 12)
    assert len(fewer) == 3
    shutil.copy(fewer[1], parts[1])
    with pytest.raises(InputError, match=r"tensors of \d+ are there"):
        load_model(str(parts[0]))
