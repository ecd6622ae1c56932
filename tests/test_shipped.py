"""What ships with the package is small and has learnt something."""

import json

import numpy as np
from safetensors.numpy import load_file

import expertjax as ej

MAX_BYTES = 8_000_000


def test_model_is_small_and_half_precision() -> None:
    files = [path for path in ej.EXAMPLE_MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    tensors = load_file(ej.EXAMPLE_MODEL / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float16)}


def test_model_beats_unigram_and_bigram_clearly() -> None:
    metrics = json.loads((ej.EXAMPLE_MODEL / "metrics.json").read_text())
    assert metrics["heldout_lines"] > 1000
    assert metrics["heldout_perplexity"] < 0.7 * metrics["bigram_perplexity"]
    assert metrics["bigram_perplexity"] < metrics["unigram_perplexity"]
