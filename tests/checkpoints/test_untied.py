"""A head that the config ties but that was saved as another one."""

import json
import logging as std_logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from expertjax.checkpoints.load import load_model, save_converted
from expertjax.models.attention import Inputs
from tests.capturing.tiny_concepts import SEQ_LEN, write_tiny_concepts
from tests.programs import run_program
from tests.tiny_models import make_tiny, make_tiny_bert, make_tiny_gpt2

_OPT = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "ffn_dim": 48}
_OPT |= {"num_attention_heads": 4, "max_position_embeddings": 64}
_LLAMA = {"vocab_size": 270, "hidden_size": 32, "intermediate_size": 48}
_LLAMA |= {"num_hidden_layers": 2, "num_attention_heads": 4}
_LLAMA |= {"tie_word_embeddings": True}
_CTRL = {"vocab_size": 270, "n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48}


def make(folder: Path, architecture: str, sizes: dict[str, Any]) -> Path:
    if architecture == "GPT2LMHeadModel":
        return make_tiny_gpt2(folder)
    if architecture == "BertForMaskedLM":
        return make_tiny_bert(folder)
    return make_tiny(folder, architecture, **sizes)


def change_head(folder: Path, by: float) -> None:
    """Saves a head beside the embeddings that it is said to be."""
    pairs = {
        "transformer.wte.weight": "lm_head.weight",
        "model.embed_tokens.weight": "lm_head.weight",
        "model.decoder.embed_tokens.weight": "lm_head.weight",
        "transformer.w.weight": "lm_head.weight",
        "bert.embeddings.word_embeddings.weight": "cls.predictions.decoder.weight",
    }
    path = folder / "model.safetensors"
    tensors = load_file(path)
    (table,) = pairs.keys() & tensors.keys()
    tensors[pairs[table]] = tensors[table] + np.float32(by)
    save_file(tensors, path, metadata={"format": "pt"})


def logits(model: Any, tokens: np.ndarray) -> np.ndarray:
    module = nnx.merge(model.graphdef, model.params)
    hidden = module(Inputs.of(tokens, np.ones_like(tokens))).hidden
    return np.asarray(module.logits(hidden))


@pytest.mark.parametrize("by", [1e-6, 0.5])
@pytest.mark.parametrize(
    ("architecture", "sizes"),
    [
        ("GPT2LMHeadModel", {}),
        ("BertForMaskedLM", {}),
        ("LlamaForCausalLM", _LLAMA),
        ("OPTForCausalLM", _OPT),
        ("CTRLLMHeadModel", _CTRL),
    ],
)
def test_a_head_that_differs_is_kept_as_transformers_keeps_it(
    architecture: str,
    sizes: dict[str, Any],
    by: float,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = make(tmp_path / "m", architecture, sizes)
    change_head(folder, by)
    with caplog.at_level(std_logging.WARNING, "absl"):
        model = load_model(str(folder))
    (line,) = [r.getMessage() for r in caplog.records if r.name == "absl"]
    assert str(folder) in line and "differs from" in line and "\n" not in line
    theirs = getattr(transformers, architecture).from_pretrained(folder).eval()
    tokens = np.random.default_rng(0).integers(1, sizes.get("vocab_size", 120), (2, 9))
    with torch.no_grad():
        wanted = theirs(torch.tensor(tokens)).logits.numpy()
    found = logits(model, tokens)
    np.testing.assert_allclose(found, wanted, atol=2e-5 * wanted.std())
    save_converted(model, tmp_path / "converted")
    again = load_model(str(tmp_path / "converted"))
    np.testing.assert_array_equal(logits(again, tokens), found)


def test_a_head_that_is_the_same_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_tiny_gpt2(tmp_path / "m")
    change_head(folder, 0.0)
    with caplog.at_level(std_logging.WARNING, "absl"):
        model = load_model(str(folder))
    assert not [r for r in caplog.records if r.name == "absl"]
    assert model.config.tie_embeddings


def test_capture_runs_with_one_line_of_warning(tmp_path: Path) -> None:
    folder = make_tiny_gpt2(tmp_path / "m")
    change_head(folder, 1e-6)
    said = run_program(
        "capture_responses",
        model=folder,
        concepts=write_tiny_concepts(tmp_path / "concepts"),
        out=tmp_path / "out",
        seq_len=SEQ_LEN,
    )
    (line,) = [line for line in said.splitlines() if "differs from" in line]
    assert "'lm_head.weight' differs from 'transformer.wte.weight'" in line
    run = json.loads((tmp_path / "out" / "m" / "run.json").read_text())
    assert run["capture"]["family"] == "gpt2"
