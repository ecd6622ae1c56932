"""The tokenizer that lies beside a model's weights."""

import hashlib
import os
from pathlib import Path
from typing import Any

from expertjax.checkpoints.word_bpe import load_published
from expertjax.errors import InputError

# The special tokens that a config names by their number.
_NAMED = ("bos_token", "eos_token", "pad_token")

# Any of these is enough. To be checked, because transformers makes an empty
# tokenizer without a word where it finds none of its files.
_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",))
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")


def has_tokenizer(folder: Path) -> bool:
    """Are there files in the folder that a tokenizer can be made of?"""
    return any(all((folder / f).is_file() for f in files) for files in _FILES)


def tokenizer_digest(folder: Path) -> str:
    """Tells the folder's tokenizer from others; "" where it has none."""
    if not has_tokenizer(folder):
        return ""
    names = [*(name for files in _FILES for name in files), *_SETTINGS]
    there = [folder / name for name in names if (folder / name).is_file()]
    digests = [(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in there]
    return repr(digests)


def load_tokenizer(folder: Path, attributes: dict[str, Any]) -> Any:
    """The fast tokenizer of a folder.

    `tokenizer.json` holds all of a fast tokenizer but which of its tokens are
    special; older folders leave that to the class that transformers looks up by
    the model type, which we do without: that look-up imports torch, where it is
    installed.

    Args:
      folder: a Hugging Face folder.
      attributes: its `config.json`, which may name special tokens.

    Raises:
      InputError: the folder has none that transformers can load.
    """
    if not has_tokenizer(folder):
        wanted = " or ".join(" and ".join(files) for files in _FILES)
        raise InputError(f"{folder}: no tokenizer; expected {wanted}")
    # Without torch, transformers warns that no models are available: we know.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import logging

    logging.set_verbosity_error()
    published = load_published(folder, attributes)
    try:
        tokenizer = published or _load(folder)
    except Exception as error:  # transformers raises many kinds here
        raise InputError(
            f"{folder}: no tokenizer can be loaded from it ({error})"
        ) from error
    if not tokenizer.is_fast:
        raise InputError(f"{folder}: the tokenizer has no fast form (tokenizer.json)")
    for name in _NAMED:
        token_id = attributes.get(f"{name}_id")
        if getattr(tokenizer, name) is None and isinstance(token_id, int):
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(token_id))
    return tokenizer


def _load(folder: Path) -> Any:
    if (folder / "tokenizer.json").is_file():
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)
