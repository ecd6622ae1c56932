"""Small tokenizers of every kind that the families come with."""

from collections.abc import Callable

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tests.tiny_models import SENTENCES, byte_level_bpe, word_piece

_SPACE = "▁"
_SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def bytes_kind() -> Tokenizer:
    """GPT-2's: merges of bytes, 300 tokens."""
    return byte_level_bpe(300).backend_tokenizer


def pieces_kind() -> Tokenizer:
    """BERT's: pieces of words, 120 tokens."""
    return word_piece(120).backend_tokenizer


def metaspace_kind(prefix: bool = True) -> Tokenizer:
    """Llama's: merges of characters, spaces written as signs, bytes where none fits.

    Args:
      prefix: a text begins with a space that decoding takes away again.
    """
    tokenizer = Tokenizer(
        models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement=_SPACE, prepend_scheme="first" if prefix else "never", split=False
    )
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix:
        steps.append(decoders.Strip(content=" ", left=1))
    tokenizer.decoder = decoders.Sequence(steps)
    # Words apart, or whole sentences would be merged.
    words = [word for text in SENTENCES for word in f" {text}".split(" ")]
    spaced = [_SPACE + word for word in words if word]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=_SPECIAL + _BYTES, show_progress=False
    )
    cut, tokenizer.pre_tokenizer = tokenizer.pre_tokenizer, None
    tokenizer.train_from_iterator(spaced, trainer)
    tokenizer.pre_tokenizer = cut
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def gemma_kind() -> Tokenizer:
    """Gemma's: as Llama's without the prefix, spaces replaced as text is normalised."""
    tokenizer = metaspace_kind(prefix=False)
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return tokenizer


def word_end_kind() -> Tokenizer:
    """GPT's first: merges whose last has the mark of a word's end."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=200,
        special_tokens=["<unk>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def unigram_kind() -> Tokenizer:
    """XLM-R's and ALBERT's: the likeliest pieces, spaces written as signs."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "<mask>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE)
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE)
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": bytes_kind,
    "pieces": pieces_kind,
    "metaspace": metaspace_kind,
    "metaspace without prefix": lambda: metaspace_kind(prefix=False),
    "gemma": gemma_kind,
    "word ends": word_end_kind,
    "unigram": unigram_kind,
}
