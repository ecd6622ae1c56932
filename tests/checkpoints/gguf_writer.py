"""Writes GGUF files from Hugging Face folders, as llama.cpp's converter does."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.checkpoints.readers import open_weights
from expertjax.checkpoints.tokenizer import load_tokenizer

CONTROL, USER_DEFINED, BYTE, NORMAL = 3, 4, 6, 1


def permute(weight: np.ndarray, heads: int) -> np.ndarray:
    """LlamaModel.permute of convert_hf_to_gguf.py."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def experts_apart(
    tensors: Mapping[str, np.ndarray], architecture: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Experts' tensors stacked where they were single, gate and up apart."""
    single: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    for key, value in tensors.items():
        name, is_bias = key.removesuffix("_bias"), key.endswith("_bias")
        kind = "bias" if is_bias else "weight"
        if match := re.fullmatch(r"(.*\.experts)\.(\d+)(\..*)", key):
            single[match[1] + match[3]][int(match[2])] = value
        elif architecture == "gpt-oss" and name.endswith("gate_up_proj"):
            turned = value if is_bias else value.swapaxes(1, 2)
            for start, part in enumerate(("gate", "up")):
                own = name.replace("gate_up", part)
                yield f"{own}.{kind}", turned[:, start::2]
        elif architecture == "gpt-oss" and name.endswith("experts.down_proj"):
            yield f"{name}.{kind}", value if is_bias else value.swapaxes(1, 2)
        elif key.endswith("block_sparse_moe.input_linear.weight"):
            for part, of in zip(("w1", "w3"), np.split(value, 2, axis=1), strict=True):
                yield key.replace("input_linear", f"experts.{part}"), of
        elif key.endswith(".sinks"):
            yield f"{key}.weight", value
        else:
            yield key, value
    for key, of in single.items():
        yield key, np.stack([of[expert] for expert in range(len(of))])


def converted(folder: Path, architecture: str) -> dict[str, np.ndarray]:
    """The folder's tensors by GGUF's names, which the gguf package knows."""
    gguf = pytest.importorskip("gguf")
    config = json.loads((folder / "config.json").read_text())
    number = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    names = gguf.get_tensor_name_map(number, layers)
    heads = config.get("num_attention_heads")
    source, tensors = open_weights(folder), {}
    given = {key: source.read(key).astype(np.float32) for key in source.shapes}
    is_permuted = architecture in ("llama", "granitemoe")
    for key, value in experts_apart(given, architecture):
        if is_permuted and "q_proj" in key:
            value = permute(value, heads)
        elif is_permuted and "k_proj" in key:
            value = permute(value, config["num_key_value_heads"])
        elif architecture.startswith("gemma") and key.endswith("norm.weight"):
            value = value + 1
        elif key.endswith("shared_expert_gate.weight"):
            value = value[0]
        elif architecture == "gpt2" and ".c_" in key and value.ndim == 2:
            value = value.T
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        assert name is not None, key
        tensors[name] = np.ascontiguousarray(value)
    return tensors


def sizes(folder: Path, architecture: str) -> dict[str, Any]:
    """The metadata of the architecture, under the names of the specification."""
    config = json.loads((folder / "config.json").read_text())
    config.setdefault("num_local_experts", config.get("num_experts"))
    if architecture == "gpt2":
        return {
            "block_count": config["n_layer"],
            "context_length": config["n_positions"],
            "embedding_length": config["n_embd"],
            "feed_forward_length": 4 * config["n_embd"],
            "attention.head_count": config["n_head"],
            "attention.layer_norm_epsilon": config["layer_norm_epsilon"],
        }
    rope = config.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    metadata = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "rope.freq_base": float(rope["rope_theta"]),
    }
    if "head_dim" in config:
        metadata["attention.key_length"] = config["head_dim"]
        metadata["attention.value_length"] = config["head_dim"]
    if architecture.startswith("gemma") or architecture == "gpt-oss":
        metadata["attention.sliding_window"] = config["sliding_window"]
    if rope.get("rope_type") == "yarn":
        original = rope["original_max_position_embeddings"]
        metadata["rope.scaling.type"] = "yarn"
        metadata["rope.scaling.factor"] = rope["factor"]
        metadata["rope.scaling.original_context_length"] = original
    more = {name: config[theirs] for name, theirs in _MORE.items() if theirs in config}
    return metadata | {name: v for name, v in more.items() if v is not None}


_MORE = {
    "expert_count": "num_local_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "attention.clamp_kqv": "clip_qkv",
    "attention.scale": "attention_multiplier",
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "logit_scale": "logits_scaling",
}


def tokens_of(folder: Path, **changes: Any) -> dict[str, Any]:
    """The metadata of a byte-level tokenizer, without its prefix."""
    tokenizer = load_tokenizer(folder, {})
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special = set(tokenizer.all_special_tokens)
    metadata = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": [CONTROL if token in special else NORMAL for token in tokens],
        "merges": [" ".join(merge) for merge in model["merges"]],
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    return {k: v for k, v in (metadata | changes).items() if v is not None}


def write_gguf(
    path: Path,
    architecture: str,
    metadata: Mapping[str, Any],
    tokens: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
) -> Path:
    """Writes one file, all tensors in float32."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, architecture)
    pairs = {f"{architecture}.{name}": value for name, value in metadata.items()}
    pairs |= {f"tokenizer.ggml.{name}": value for name, value in tokens.items()}
    for name, value in pairs.items():
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        else:
            writer.add_string(name, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_folder(folder: Path, path: Path, architecture: str, **changes: Any) -> Path:
    """A Hugging Face folder as one GGUF file; changes are to the metadata."""
    metadata = {
        name: value
        for name, value in (sizes(folder, architecture) | changes).items()
        if value is not None
    }
    tensors = converted(folder, architecture)
    return write_gguf(path, architecture, metadata, tokens_of(folder), tensors)
