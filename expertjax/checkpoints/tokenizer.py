"""The tokenizer that lies beside a model's weights."""

import hashlib
import os
from pathlib import Path
from typing import Any

from expertjax.checkpoints.json_file import read_json, write_json
from expertjax.checkpoints.tokenizer_class import (
    AS_WRITTEN,
    LISTED,
    SETTINGS,
    tokenizer_class,
)
from expertjax.checkpoints.word_bpe import load_published
from expertjax.errors import InputError

# The special tokens that a config names by their number.
_NAMED = ("bos_token", "eos_token", "pad_token")

# Any of these is enough. To be checked, because transformers makes an empty
# tokenizer without a word where it finds none of its files.
_FILES = ((LISTED,), ("vocab.json", "merges.txt"), ("vocab.txt",))
_SENTENCEPIECE = (
    "; a SentencePiece model alone is not read: where sentencepiece is installed, "
    "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) of transformers "
    "writes tokenizer.json"
)
_SETTINGS = (SETTINGS, "special_tokens_map.json", "added_tokens.json")


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
    """The fast tokenizer of a folder: the tokens that `AutoTokenizer` gives.

    Args:
      folder: a Hugging Face folder.
      attributes: its `config.json`, which may name special tokens and the class.

    Raises:
      InputError: the folder has none that transformers can load, or none that is fast.
    """
    if not has_tokenizer(folder):
        wanted = " or ".join(" and ".join(files) for files in _FILES)
        alone = any(folder.glob("*.model"))
        raise InputError(
            f"{folder}: no tokenizer; expected {wanted}" + (_SENTENCEPIECE * alone)
        )
    # Without torch, transformers warns that no models are available: we know.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import logging

    logging.set_verbosity_error()
    tokenizer = load_published(folder, attributes) or _of_class(folder, attributes)
    for name in _NAMED:
        if getattr(tokenizer, name) is None:
            token_id = attributes.get(f"{name}_id")
            if isinstance(token_id, list) and token_id:
                token_id = token_id[0]
            setattr(tokenizer, name, _token(tokenizer, token_id))
    return tokenizer


def _of_class(folder: Path, attributes: dict[str, Any]) -> Any:
    kind = tokenizer_class(folder, attributes)
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises many kinds here
        raise InputError(
            f"{folder}: no tokenizer can be loaded from it as {kind.__name__} ({error})"
        ) from error


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Writes a tokenizer so that it is the same when it is loaded again.

    Not every class writes all settings that it was made with; `tokenizer.json` has
    what came of them, and is to be taken as it is.
    """
    tokenizer.save_pretrained(folder)
    if (folder / LISTED).is_file():  # CTRL's is written as it was published
        settings = read_json(folder / SETTINGS)
        write_json(folder / SETTINGS, settings | {"tokenizer_class": AS_WRITTEN})


def _token(tokenizer: Any, token_id: Any) -> str | None:
    """The token of a number, if there is such a one: some configs have -1 for none."""
    is_number = isinstance(token_id, int) and 0 <= token_id < len(tokenizer)
    return tokenizer.convert_ids_to_tokens(token_id) if is_number else None
