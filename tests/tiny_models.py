"""Small random Hugging Face folders, made offline by torch and transformers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

SENTENCES = [
    "The players kicked the ball across the muddy field.",
    "A crane lifted the steel beam over the river.",
    "Two white cranes flew low above the quiet water.",
    "She read the old letter twice and put it away.",
    "Rain fell on the market while the traders shouted prices.",
    "The goalkeeper caught the ball and the crowd cheered.",
]


def make_tiny(
    folder: Path,
    architecture: str,
    *,
    tokenizer: str = "bpe",
    seed: int = 0,
    max_shard_size: str = "5GB",
    **attributes: Any,
) -> Path:
    """Writes a random model of any family.

    Args:
      folder: gets config, `model.safetensors` and the tokenizer.
      architecture: the class of transformers, e.g. "RobertaForMaskedLM".
      tokenizer: "bpe" (byte-level) or "wordpiece", of `vocab_size` tokens.
      seed: of the weights.
      max_shard_size: larger checkpoints are split into shards with an index.
      **attributes: of the architecture's config class.

    Returns:
      the folder.
    """
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    kind = getattr(transformers, architecture)
    model = kind(kind.config_class(**attributes)).eval()
    randomize(model, seed)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    make = {"bpe": byte_level_bpe, "wordpiece": word_piece}[tokenizer]
    make(attributes["vocab_size"]).save_pretrained(folder)
    return folder


def make_tiny_gpt2(
    folder: Path, *, architecture: str = "GPT2LMHeadModel", **overrides: Any
) -> Path:
    """`make_tiny` of a GPT-2 with L = 3, D = 32 and 300 tokens."""
    attributes = {"vocab_size": 300, "n_positions": 64, "n_embd": 32, "n_layer": 3}
    attributes |= {"n_head": 4, "bos_token_id": 0, "eos_token_id": 0} | overrides
    return make_tiny(folder, architecture, **attributes)


def make_tiny_bert(
    folder: Path, *, architecture: str = "BertForMaskedLM", **overrides: Any
) -> Path:
    """`make_tiny` of a BERT with L = 3, D = 32 and 120 tokens."""
    attributes = {"vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 3}
    attributes |= {"num_attention_heads": 4, "intermediate_size": 96}
    attributes |= {"max_position_embeddings": 64, "pad_token_id": 0} | overrides
    return make_tiny(folder, architecture, tokenizer="wordpiece", **attributes)


def byte_level_bpe(vocab_size: int) -> Any:
    """GPT-2's kind of tokenizer, trained on `SENTENCES`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    end = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    return _fast(tokenizer, end)


def word_piece(vocab_size: int) -> Any:
    """BERT's kind of tokenizer, trained on `SENTENCES`: [CLS] ... [SEP]."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")],
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return _fast(tokenizer, dict(zip(names, special, strict=True)))


def randomize(model: Any, seed: int) -> None:
    """Gives a torch model weights that make its activations large and uneven.

    The default initialisation leaves biases at zero, LayerNorms at identity and
    activations so small that whole terms could be missing unnoticed.
    """
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in _parameters(model):
            noise = torch.randn(parameter.shape, generator=generator)
            is_scale = name.endswith("weight") and parameter.ndim == 1
            parameter.copy_(1 + 0.3 * noise if is_scale else 0.2 * noise)


def _parameters(model: Any) -> Iterator[tuple[str, Any]]:
    """Each once: `named_parameters` passes over tied ones."""
    yield from sorted(model.named_parameters())


def _fast(tokenizer: Tokenizer, special: dict[str, str]) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
