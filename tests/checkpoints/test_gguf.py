"""GGUF files against the Hugging Face folders that they were made of."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.checkpoints.gguf_file import GGUFFile
from expertjax.checkpoints.load import load_model, params_digest, save_converted
from expertjax.errors import InputError
from tests.checkpoints.gguf_writer import (
    converted,
    sizes,
    tokens_of,
    write_folder,
    write_gguf,
)
from tests.tiny_models import SENTENCES, make_tiny, make_tiny_gpt2

gguf = pytest.importorskip("gguf")

TEXTS = [*SENTENCES, "In 1953 we'd  had 12345\n\n\tthings: naïve, 日本語 😀!", " x"]
SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "LlamaForCausalLM", {"tie_word_embeddings": True}),
    "llama-biases": (
        "llama",
        "LlamaForCausalLM",
        {"attention_bias": True, "mlp_bias": True, "head_dim": 16},
    ),
    "qwen2": ("qwen2", "Qwen2ForCausalLM", {"rms_norm_eps": 1e-5}),
    "qwen3": ("qwen3", "Qwen3ForCausalLM", {"head_dim": 16}),
    "gemma2": (
        "gemma2",
        "Gemma2ForCausalLM",
        {"head_dim": 16, "sliding_window": 4, "query_pre_attn_scalar": 16},
    ),
    "gemma3": (
        "gemma3",
        "Gemma3ForCausalLM",
        {"head_dim": 16, "sliding_window": 4, "query_pre_attn_scalar": 16},
    ),
    "mixtral": ("llama", "MixtralForCausalLM", {"num_local_experts": 4}),
    "qwen2moe": (
        "qwen2moe",
        "Qwen2MoeForCausalLM",
        _EXPERTS | {"moe_intermediate_size": 20, "shared_expert_intermediate_size": 28},
    ),
    "qwen3moe": (
        "qwen3moe",
        "Qwen3MoeForCausalLM",
        _EXPERTS
        | {"moe_intermediate_size": 20, "head_dim": 16, "norm_topk_prob": True},
    ),
    "olmoe": ("olmoe", "OlmoeForCausalLM", _EXPERTS | {"clip_qkv": 0.5}),
    "granitemoe": (
        "granitemoe",
        "GraniteMoeForCausalLM",
        {
            "num_local_experts": 3,
            "attention_multiplier": 0.25,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.5,
            "logits_scaling": 4.0,
        },
    ),
    "gpt-oss": (
        "gpt-oss",
        "GptOssForCausalLM",
        {"num_local_experts": 3, "num_experts_per_tok": 2, "head_dim": 16},
    ),
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder. Do not change it."""
    return make_tiny(tmp_path_factory.mktemp("gguf") / "m", "LlamaForCausalLM", **SIZES)


def assert_same(path: Path, folder: Path) -> None:
    """A GGUF file gives the config and the parameters of the folder."""
    ours, theirs = load_model(str(path)), load_model(str(folder))
    assert ours.config == theirs.config
    pairs = zip(ours.params.flat_state(), theirs.params.flat_state(), strict=True)
    for (name, mine), (_, wanted) in pairs:
        # Gemma's norms lose a digit to the 1 that is added to them.
        a, b = np.asarray(mine[...]), np.asarray(wanted[...])
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-7, err_msg=str(name))


@pytest.mark.parametrize("case", CASES)
def test_a_file_is_the_model_it_was_made_of(case: str, tmp_path: Path) -> None:
    architecture, class_name, attributes = CASES[case]
    folder = make_tiny(tmp_path / "m", class_name, **(SIZES | attributes))
    assert_same(write_folder(folder, tmp_path / "x.gguf", architecture), folder)


def test_gpt2(tmp_path: Path) -> None:
    folder = make_tiny_gpt2(tmp_path / "m")
    path = write_folder(folder, tmp_path / "x.gguf", "gpt2")
    assert_same(path, folder)
    digests = [params_digest(load_model(str(p)).params) for p in (path, folder)]
    assert digests[0] == digests[1]


def test_the_scaled_rotations_of_llama_3(tmp_path: Path) -> None:
    folder = make_tiny(
        tmp_path / "m", "LlamaForCausalLM", **SIZES, rope_parameters=LLAMA3
    )
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(**SIZES, rope_parameters=LLAMA3)
    plain = 500000.0 ** (-np.arange(0, 8, 2) / 8)
    scaled, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](
        config, "cpu"
    )
    factors = {"rope_freqs.weight": (plain / scaled.numpy()).astype(np.float32)}
    assert len(set(factors["rope_freqs.weight"].round(3))) > 1
    tensors = converted(folder, "llama") | factors
    metadata, tokens = sizes(folder, "llama"), tokens_of(folder)
    path = write_gguf(tmp_path / "x.gguf", "llama", metadata, tokens, tensors)
    assert_same(path, folder)
    tensors["rope_freqs.weight"] = tensors["rope_freqs.weight"] * 1.1
    write_gguf(path, "llama", metadata, tokens, tensors)
    with pytest.raises(InputError, match="rope_freqs is not that of Llama 3"):
        load_model(str(path))


def test_linear_rotations(tmp_path: Path) -> None:
    rope = {"rope_type": "linear", "rope_theta": 50.0, "factor": 3.0}
    folder = make_tiny(
        tmp_path / "m", "LlamaForCausalLM", **SIZES, rope_parameters=rope
    )
    scaling = {"rope.scaling.type": "linear", "rope.scaling.factor": 3.0}
    assert_same(write_folder(folder, tmp_path / "x.gguf", "llama", **scaling), folder)


def test_quantised_tensors_are_dequantised(llama: Path, tmp_path: Path) -> None:
    kind = gguf.GGMLQuantizationType.Q8_0
    exact = converted(llama, "llama")["output.weight"]
    packed = gguf.quants.quantize(exact, kind)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    for name, value in sizes(llama, "llama").items():
        add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
        add(f"llama.{name}", value)
    writer.add_tensor("output.weight", packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GGUFFile(tmp_path / "x.gguf")
    assert file.shapes == {"lm_head.weight": exact.shape}
    error = np.abs(file.read("lm_head.weight") - exact)
    assert 0 < error.max() <= np.abs(exact).max() / 127


def test_a_folder_with_one_file_is_enough(llama: Path, tmp_path: Path) -> None:
    path = write_folder(llama, tmp_path / "tiny-llama.gguf", "llama")
    assert load_model(str(path)).name == "tiny-llama"
    model = load_model(str(tmp_path))
    assert model.name == tmp_path.name
    save_converted(model, tmp_path / "converted")
    again = load_model(str(tmp_path / "converted"))
    assert params_digest(again.params) == params_digest(model.params)
    assert again.tokenizer(TEXTS)["input_ids"] == model.tokenizer(TEXTS)["input_ids"]
    shutil.copy(path, tmp_path / "other.gguf")
    with pytest.raises(InputError, match=r"which of other\.gguf, tiny-llama\.gguf"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expert_count": 8}, r"'blk\.0\.ffn_gate\.weight' is not known"),
        ({"attention.layer_norm_rms_epsilon": None}, "epsilon is missing"),
        ({"rope.scaling.type": "yarn"}, "rope.scaling.type='yarn'"),
        ({"rope.dimension_count": 4}, "only 4 of 8 coordinates"),
        ({"attention.head_count": [4, 4, 2]}, "head_count is missing or no number"),
    ],
)
def test_what_is_not_understood_is_refused(
    llama: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = write_folder(llama, tmp_path / "x.gguf", "llama", **change)
    with pytest.raises(InputError, match=message) as error:
        load_model(str(path))
    assert str(path) in str(error.value)


def test_metadata_that_changes_nothing_is_accepted(llama: Path, tmp_path: Path) -> None:
    plain = {"pooling_type": 1, "attention.causal": True, "expert_count": 0}
    plain |= {"expert_used_count": 0, "classifier.output_labels": ["no", "yes"]}
    assert_same(write_folder(llama, tmp_path / "x.gguf", "llama", **plain), llama)


def test_metadata_is_passed_over_by_name(llama: Path, tmp_path: Path) -> None:
    odd = {"logit_scale": 2.0, "attention.causal": False}
    path = write_folder(llama, tmp_path / "x.gguf", "llama", **odd)
    with pytest.raises(InputError, match="--ignore_config=NAME") as error:
        load_model(str(path))
    assert "llama.logit_scale=2.0" in str(error.value)
    assert "llama.attention.causal=False: tokens see" in str(error.value)
    names = ["llama.logit_scale", "llama.attention.causal", "llama.none"]
    model = load_model(str(path), ignore_config=names)
    assert model.ignored_config == dict(zip(names, odd.values(), strict=False))


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    path = write_gguf(
        tmp_path / "x.gguf", "mamba", {}, {}, {"a": np.zeros(2, np.float32)}
    )
    with pytest.raises(InputError, match="architecture 'mamba'; known: llama"):
        load_model(str(path))


def test_unknown_tensors_are_refused(llama: Path, tmp_path: Path) -> None:
    tensors = converted(llama, "llama") | {
        "blk.0.ffn_gate_inp.weight": np.zeros(4, "f4")
    }
    metadata, tokens = sizes(llama, "llama"), tokens_of(llama)
    path = write_gguf(tmp_path / "x.gguf", "llama", metadata, tokens, tensors)
    with pytest.raises(InputError, match=r"'blk\.0\.ffn_gate_inp\.weight' is not"):
        load_model(str(path))


def test_gates_and_ups_have_to_be_alike(tmp_path: Path) -> None:
    tensors = {
        f"blk.0.ffn_{name}_exps.weight": np.zeros((2, width, 4), np.float32)
        for name, width in (("gate", 3), ("up", 5))
    }
    path = write_gguf(tmp_path / "x.gguf", "qwen3moe", {}, {}, tensors)
    both = r"ffn_gate_exps\.weight' and 'blk\.0\.ffn_up_exps\.weight' differ in shape"
    with pytest.raises(InputError, match=both):
        GGUFFile(path)


@pytest.mark.parametrize("keep", [0, 3, 100, 2000, -1000])
def test_damaged_files_are_named(llama: Path, tmp_path: Path, keep: int) -> None:
    path = write_folder(llama, tmp_path / "x.gguf", "llama")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="cannot be read as GGUF") as error:
        load_model(str(path))
    assert str(path) in str(error.value)
