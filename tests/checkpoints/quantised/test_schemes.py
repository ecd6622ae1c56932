"""What a config says of quantisation: taken, refused by name, recorded."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from expertjax.capturing.capture import capture
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import load_model, save_converted, save_huggingface
from expertjax.checkpoints.quantised.schemes import take_scheme
from expertjax.errors import InputError
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set
from tests.checkpoints.quantised.folders import LLAMA, quantise_folder, source_of
from tests.tiny_models import make_tiny, make_tiny_gpt2

CONFIG = Path("somewhere/config.json")
FP8 = {"quant_method": "fp8", "weight_block_size": [16, 16]}
ROWS = {"quant_method": "fbgemm_fp8"}


def refusal(settings: Any, name: str = "quantization_config") -> str:
    with pytest.raises(InputError) as error:
        take_scheme({"model_type": "llama", name: settings}, CONFIG)
    message = str(error.value)
    assert message.startswith(f"{CONFIG}: {name}: quant_method ")
    return message


def to_rows(module: str, weight: Any) -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    scale = weight.abs().amax(1, keepdim=True) / 448
    numbers = (weight / scale).to(torch.float8_e4m3fn)
    return {".weight": numbers, ".weight_scale": scale}


@pytest.mark.parametrize("method", ["aqlm", "hqq", "quanto", "exl2", None, 3])
def test_an_unknown_method_is_named(method: Any) -> None:
    message = refusal({"quant_method": method, "bits": 4})
    assert f"quant_method {method!r} is not read; known: awq, bitsandbytes" in message


def test_what_is_no_object_is_refused() -> None:
    assert "quant_method None is not read" in refusal("gptq")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quant_method": "gptq", "bits": 5}, "bits=5: known: 2, 3, 4, 8"),
        ({"quant_method": "gptq", "format": "gptq_p"}, "format='gptq_p' is not known"),
        ({"quant_method": "gptq", "pack_dtype": "int16"}, "pack_dtype='int16'"),
        ({"quant_method": "gptq", "is_marlin_format": True}, "is_marlin_format=True"),
        ({"quant_method": "awq", "version": "gemv"}, "format='gemv' is not impl"),
        ({"quant_method": "awq", "bits": 8}, "bits=8 is not implemented, only 4"),
        ({"quant_method": "awq", "zero_point": False}, "zero_point=False"),
        ({"quant_method": "bitsandbytes", "new": 1}, "new=1 is not known"),
        ({"quant_method": "mxfp4", "new": 1}, "new=1 is not known"),
        (FP8 | {"weight_block_size": [16]}, r"weight_block_size=\[16\]: expected two"),
        (FP8 | {"expert_dtype": "fp4"}, "expert_dtype='fp4'"),
        (FP8 | {"fmt": "e3m4"}, "fmt='e3m4' is not known"),
    ],
)
def test_what_of_a_method_is_not_read(settings: dict[str, Any], message: str) -> None:
    found = refusal(settings)
    assert f"quant_method {settings['quant_method']!r}" in found.splitlines()[0]
    assert re.search(message, found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "nvfp4-pack-quantized"}, "format='nvfp4-pack-quantized' is not"),
        ({"format": "marlin-24"}, "format='marlin-24' is not known"),
        ({"sparsity_config": {"format": "sparse-bitmask"}}, "format='sparse-bitmask'"),
        ({"transform_config": {"a": 1}}, "transform_config={'a': 1}"),
    ],
)
def test_what_of_compressed_tensors_is_not_read(
    change: dict[str, Any], message: str
) -> None:
    weights = {"num_bits": 8, "type": "int", "strategy": "channel"}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    settings = {"quant_method": "compressed-tensors", "format": "int-quantized"}
    settings |= {"config_groups": groups}
    take_scheme({"quantization_config": settings}, CONFIG)
    assert message in refusal(settings | change)
    assert message in refusal(settings | change, "compression_config")
    for bad in ({"num_bits": 9}, {"type": "float", "num_bits": 4}, {"strategy": "x"}):
        name, value = list(bad.items())[-1]
        groups = {"group_0": {"targets": ["Linear"], "weights": weights | bad}}
        assert f"{name}={value!r}" in refusal(settings | {"config_groups": groups})


CONFIGS: dict[str, dict[str, Any]] = {
    "AwqConfig": {"bits": 4},
    "BitsAndBytesConfig": {"load_in_8bit": True},
    "FbgemmFp8Config": {},
    "FineGrainedFP8Config": {},
    "GPTQConfig": {"bits": 3, "dataset": "c4", "tokenizer": "x"},
    "Mxfp4Config": {},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_what_transformers_writes_is_understood(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    settings = json.loads(getattr(transformers, name)(**CONFIGS[name]).to_json_string())
    attributes, scheme = take_scheme({"quantization_config": settings}, CONFIG)
    assert attributes == {}
    assert scheme is not None


def test_what_compressed_tensors_writes_is_understood() -> None:
    library = pytest.importorskip("compressed_tensors.quantization")
    for preset in ("W4A16", "W4A16_ASYM", "W8A8", "FP8", "FP8_DYNAMIC", "FP8_BLOCK"):
        form = {"W4": "pack", "W8": "int", "FP": "float"}[preset[:2]] + "-quantized"
        config = library.QuantizationConfig(
            config_groups={preset: ["Linear"]},
            format=form,
            ignore=["lm_head"],
            quantization_status="frozen",
        )
        settings = config.model_dump(mode="json")
        settings |= {"sparsity_config": {"format": "dense", "global_sparsity": 0.1}}
        _, scheme = take_scheme({"quantization_config": settings}, CONFIG)
        assert scheme is not None


def test_bitsandbytes_was_not_named_at_first() -> None:
    settings = {"load_in_8bit": True, "llm_int8_threshold": 6.0}
    _, scheme = take_scheme({"quantization_config": settings}, CONFIG)
    assert scheme is not None
    assert scheme.name == "bitsandbytes (int8)"


def test_configs_without_quantisation_are_left_alone() -> None:
    attributes = {"model_type": "llama", "quantization_config": None}
    assert take_scheme(attributes, CONFIG) == ({"model_type": "llama"}, None)
    assert take_scheme({"a": 1}, CONFIG) == ({"a": 1}, None)


def test_what_a_user_passes_over_is_recorded(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "m", "LlamaForCausalLM", **LLAMA)
    quantise_folder(folder, ROWS | {"new": 1}, to_rows)
    with pytest.raises(InputError, match=r"'fbgemm_fp8'.*\n.*new=1 is not known"):
        load_model(str(folder))
    model = load_model(str(folder), ignore_config=["quantization_config.new"])
    assert model.ignored_config == {"quantization_config.new": 1}


def test_saved_models_are_no_longer_quantised(tmp_path: Path) -> None:
    """But a converted one knows where it comes from."""
    folder = make_tiny(tmp_path / "m", "LlamaForCausalLM", **LLAMA)
    model = load_model(str(quantise_folder(folder, ROWS, to_rows)))
    save_converted(model, tmp_path / "c")
    save_huggingface(model, tmp_path / "h")
    for name in "ch":
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert "quantization_config" not in config
    assert load_model(str(tmp_path / "c")).dequantised == "fbgemm_fp8"
    assert load_model(str(tmp_path / "h")).dequantised == ""


def test_weights_of_conv1d_are_refused_where_no_library_makes_them(
    tmp_path: Path,
) -> None:
    folder = make_tiny_gpt2(tmp_path / "m")
    quantise_folder(folder, ROWS, to_rows, ends=("c_fc.weight",))
    with pytest.raises(InputError, match=r"0\.mlp\.c_fc\.weight is no weight of nn\."):
        load_model(str(folder))


def test_all_that_is_missing_is_named(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensors = {"a.qweight": torch.zeros(2, 8, dtype=torch.int32)}
    tensors["b.qweight"] = tensors["a.qweight"].clone()
    tensors["b.scales"] = torch.ones(1, 8)
    with pytest.raises(InputError) as error:
        source_of(tmp_path, {"quant_method": "gptq", "bits": 4}, tensors)
    assert "a.weight lacks .qzeros, .scales" in str(error.value)
    assert "b.weight lacks .qzeros" in str(error.value)


def test_a_weight_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    words = torch.zeros(2, 8, dtype=torch.int32)
    tensors = {"a.qweight": words, "a.qzeros": words.clone()}
    tensors |= {"a.scales": torch.ones(1, 8), "a.weight": torch.ones(8, 16)}
    with pytest.raises(InputError, match=r"a\.weight is there beside \.qweight"):
        source_of(tmp_path, {"quant_method": "gptq", "bits": 4}, tensors)


def test_a_capture_records_the_scheme(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "m", "LlamaForCausalLM", **LLAMA)
    plain = load_model(str(folder))
    model = load_model(str(quantise_folder(folder, ROWS, to_rows)))
    settings = CaptureSettings(seq_len=SEQ_LEN)
    capture(model, tiny_concept_set(), tmp_path / "out", settings)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["capture"]["dequantised"] == "fbgemm_fp8"
    with pytest.raises(InputError, match="dequantised"):
        capture(plain, tiny_concept_set(), tmp_path / "out", settings)
