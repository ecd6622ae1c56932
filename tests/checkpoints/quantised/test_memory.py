"""Loading quantised weights needs little more than loading any."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.checkpoints.test_streaming import PEAK

WIDTH, INNER, LAYERS, VOCABULARY = 512, 2048, 12, 8000
CONFIG = {
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 8,
    "vocab_size": VOCABULARY,
    "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128},
}


def gptq(inputs: int, outputs: int) -> dict[str, np.ndarray]:
    """Random weights, as GPTQ keeps them."""
    random, words = np.random.default_rng(0), np.iinfo(np.int32)
    packed = random.integers(words.min, words.max, (inputs // 8, outputs), np.int32)
    return {
        ".qweight": packed,
        ".qzeros": packed[: inputs // 128, : outputs // 8].copy(),
        ".scales": np.full((inputs // 128, outputs), 0.01, np.float16),
        ".g_idx": np.arange(inputs, dtype=np.int32) // 128,
    }


def write_large(folder: Path, tokenizer: Path) -> Path:
    """A random Llama of 234 MB, of which the blocks are kept in 4 bits."""
    sizes = {f"self_attn.{name}_proj": (WIDTH, WIDTH) for name in "qkvo"}
    sizes |= {f"mlp.{name}_proj": (WIDTH, INNER) for name in ("gate", "up")}
    sizes["mlp.down_proj"] = INNER, WIDTH
    table = np.ones((VOCABULARY, WIDTH), np.float32)
    norm = np.ones(WIDTH, np.float32)
    tensors = {"model.embed_tokens.weight": table, "lm_head.weight": table + 1}
    tensors["model.norm.weight"] = norm
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{name}.weight"] = norm.copy()
        for name, size in sizes.items():
            parts = gptq(*size).items()
            tensors |= {f"{prefix}{name}{part}": value for part, value in parts}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    shutil.copy(tokenizer / "tokenizer.json", folder)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_the_host_holds_one_parameter_beside_the_model(
    tiny_gpt2_folder: Path, tmp_path: Path
) -> None:
    """And the numbers of one layer of it, while these are made."""
    large = write_large(tmp_path / "large", tiny_gpt2_folder)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(large), str(tiny_gpt2_folder), ""],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    peak, total, largest = map(int, done.stdout.split())
    print(f"{(peak - total) / largest:.2f} largest parameters")
    assert total > 180e6
    assert peak <= total + 1.3 * largest
