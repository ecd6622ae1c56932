"""Writes GGUF files from Hugging Face folders, as llama.cpp's converter does."""

import json
from collections.abc import Mapping
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


def converted(folder: Path, architecture: str) -> dict[str, np.ndarray]:
    """The folder's tensors by GGUF's names, which the gguf package knows."""
    gguf = pytest.importorskip("gguf")
    config = json.loads((folder / "config.json").read_text())
    number = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    names = gguf.get_tensor_name_map(number, layers)
    heads = config.get("num_attention_heads")
    source, tensors = open_weights(folder), {}
    for key in source.shapes:
        value = source.read(key).astype(np.float32)
        if architecture == "llama" and "q_proj" in key:
            value = permute(value, heads)
        elif architecture == "llama" and "k_proj" in key:
            value = permute(value, config["num_key_value_heads"])
        elif architecture.startswith("gemma") and key.endswith("norm.weight"):
            value = value + 1
        elif architecture == "gpt2" and ".c_" in key and value.ndim == 2:
            value = value.T
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        assert name is not None, key
        tensors[name] = np.ascontiguousarray(value)
    return tensors


def sizes(folder: Path, architecture: str) -> dict[str, Any]:
    """The metadata of the architecture, under the names of the specification."""
    config = json.loads((folder / "config.json").read_text())
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
    if architecture.startswith("gemma"):
        metadata["attention.sliding_window"] = config["sliding_window"]
    return metadata


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
