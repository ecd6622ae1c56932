"""Tokenizers built from GGUF metadata against those of transformers."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, trainers

from expertjax.checkpoints.gguf_file import GGUFFile
from expertjax.checkpoints.gguf_tokenizer import tokenizer_of
from expertjax.checkpoints.tokenizer import load_tokenizer
from expertjax.errors import InputError
from tests.checkpoints.gguf_writer import (
    BYTE,
    CONTROL,
    NORMAL,
    USER_DEFINED,
    converted,
    sizes,
    tokens_of,
    write_gguf,
)
from tests.checkpoints.test_gguf import SIZES, TEXTS
from tests.tiny_models import SENTENCES, make_tiny

SPECIAL = ["<unk>", "<s>", "</s>"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder. Do not change it."""
    return make_tiny(tmp_path_factory.mktemp("gguf") / "m", "LlamaForCausalLM", **SIZES)


def write(llama: Path, path: Path, tokens: dict[str, Any]) -> Path:
    """A file with these tokens; the model does not matter."""
    tensors = converted(llama, "llama")
    return write_gguf(path, "llama", sizes(llama, "llama"), tokens, tensors)


def theirs(path: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def test_byte_level_tokens_are_those_of_the_folder(llama: Path, tmp_path: Path) -> None:
    ours = tokenizer_of(GGUFFile(write(llama, tmp_path / "x.gguf", tokens_of(llama))))
    wanted = load_tokenizer(llama, {})
    texts = [*TEXTS, "a<|endoftext|>b"]
    assert ours(texts)["input_ids"] == wanted(texts)["input_ids"]
    assert ours.decode(ours(TEXTS[0])["input_ids"]) == TEXTS[0]
    assert (ours.eos_token_id, ours.pad_token) == (0, None)


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "qwen2"])
@pytest.mark.parametrize("bos", [True, False])
def test_texts_are_cut_as_transformers_does(
    llama: Path, tmp_path: Path, pre: str, bos: bool
) -> None:
    tokens = tokens_of(llama, pre=pre, add_bos_token=bos)
    tokens["token_type"][-1] = USER_DEFINED
    path = write(llama, tmp_path / "x.gguf", tokens)
    ours, wanted = tokenizer_of(GGUFFile(path)), theirs(path)
    assert ours(TEXTS)["input_ids"] == wanted(TEXTS)["input_ids"]


def test_single_digits_are_cut_apart(llama: Path, tmp_path: Path) -> None:
    tokens = tokens_of(llama, pre="smollm")
    tokens["tokens"][-1] = "12"
    tokens["merges"][-1] = "1 2"  # that token's
    files = [
        GGUFFile(write(llama, tmp_path / f"{pre}.gguf", tokens | {"pre": pre}))
        for pre in ("smollm", "gpt-2")
    ]
    apart, together = (tokenizer_of(f)("x 12")["input_ids"] for f in files)
    assert len(apart) == len(together) + 1


def sentencepiece(size: int, **changes: Any) -> dict[str, Any]:
    """Llama 2's kind, trained on `SENTENCES`; with the bytes that it falls back to."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    places = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL + places, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    kinds = [CONTROL] * 3 + [BYTE] * 256 + [NORMAL] * (len(tokens) - 259)
    metadata = {
        "model": "llama",
        "tokens": tokens,
        "scores": [0.0] * 259 + [-float(i) for i in range(len(tokens) - 259)],
        "token_type": kinds,
        "unknown_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return metadata | changes


@pytest.mark.parametrize(
    "changes", [{}, {"add_bos_token": False, "add_eos_token": True}]
)
def test_sentencepiece_is_that_of_transformers(
    llama: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = write(llama, tmp_path / "x.gguf", sentencepiece(420, **changes))
    ours, wanted = tokenizer_of(GGUFFile(path)), theirs(path)
    texts = [*TEXTS, "a</s>b"]
    assert ours(texts)["input_ids"] == wanted(texts)["input_ids"]
    ids = ours(TEXTS[0], add_special_tokens=False)["input_ids"]
    assert len(ids) < len(TEXTS[0]) / 2  # merges were found
    assert ours.decode(ids) == TEXTS[0]


def test_gemma_is_that_of_transformers(tmp_path: Path) -> None:
    sizes_of_gemma = SIZES | {"head_dim": 16, "vocab_size": 420}
    folder = make_tiny(tmp_path / "m", "Gemma2ForCausalLM", **sizes_of_gemma)
    tokens = sentencepiece(420, add_space_prefix=False)
    tokens["tokens"][-1], tokens["token_type"][-1] = "  ", USER_DEFINED
    metadata, tensors = sizes(folder, "gemma2"), converted(folder, "gemma2")
    path = write_gguf(tmp_path / "x.gguf", "gemma2", metadata, tokens, tensors)
    ours, wanted = tokenizer_of(GGUFFile(path)), theirs(path)
    texts = [*TEXTS, "two  spaces", "   three", "a</s>b"]
    assert ours(texts)["input_ids"] == wanted(texts)["input_ids"]
    assert ours("  ", add_special_tokens=False)["input_ids"] == [419]
    assert ours.decode([419, 419]) == "    "


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre": "unheard-of"}, "text is cut in the way of 'unheard-of'"),
        ({"pre": None}, "text is cut in the way of None"),
        ({"model": "bert"}, "its tokenizer is of kind 'bert'"),
        ({"merges": ["no such"]}, "its tokenizer is damaged"),
        ({"bos_token_id": 9999}, "its tokenizer is damaged"),
    ],
)
def test_what_is_not_known_asks_for_a_tokenizer(
    llama: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write(llama, tmp_path / "x.gguf", tokens_of(llama, **changes))
    with pytest.raises(InputError, match=message) as error:
        tokenizer_of(GGUFFile(path))
    assert "put the model's tokenizer.json beside the file" in str(error.value)
    shutil.copy(llama / "tokenizer.json", tmp_path)
    tokens = tokenizer_of(GGUFFile(path))(TEXTS)["input_ids"]
    assert tokens == load_tokenizer(llama, {})(TEXTS)["input_ids"]
