"""A checkpoint of any format, as what a Hugging Face folder holds."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from expertjax.checkpoints.gguf_file import SUFFIX, GGUFFile, find_gguf
from expertjax.checkpoints.gguf_tokenizer import tokenizer_of
from expertjax.checkpoints.json_file import read_json
from expertjax.checkpoints.readers import TensorSource, open_weights
from expertjax.checkpoints.tokenizer import load_tokenizer

GENERATION = "generation_config.json"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Config, tensors and tokenizer of one checkpoint.

    Attributes:
      path: folder or file.
      config_path: what messages about the config should name.
      attributes: content of `config.json`.
      open_weights: the tensors by their Hugging Face names.
      load_tokenizer: the fast tokenizer.
      generation: content of `generation_config.json`; empty without one.
    """

    path: Path
    config_path: Path
    attributes: dict[str, Any]
    open_weights: Callable[[], TensorSource]
    load_tokenizer: Callable[[], Any]
    generation: dict[str, Any] = dataclasses.field(default_factory=dict)


def open_checkpoint(path: Path) -> Checkpoint:
    """Reads the config; tensors and tokenizer wait until they are asked for.

    Args:
      path: from `find_checkpoint`.

    Raises:
      InputError: no config, or one that is damaged.
    """
    gguf = path if path.suffix == SUFFIX and path.is_file() else find_gguf(path)
    if gguf is not None:
        file = GGUFFile(gguf)
        return Checkpoint(
            path, gguf, file.attributes, lambda: file, lambda: tokenizer_of(file)
        )
    config = path / "config.json"
    attributes = read_json(config)
    return Checkpoint(
        path,
        config,
        attributes,
        lambda: open_weights(path),
        lambda: load_tokenizer(path, attributes),
        read_json(path / GENERATION) if (path / GENERATION).is_file() else {},
    )
