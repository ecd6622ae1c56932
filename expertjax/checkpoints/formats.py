"""A checkpoint of any format, as what a Hugging Face folder holds."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from expertjax.checkpoints.gguf_file import GGUFFile, find_gguf
from expertjax.checkpoints.gguf_parts import SUFFIX
from expertjax.checkpoints.gguf_tokenizer import tokenizer_of
from expertjax.checkpoints.json_file import read_json
from expertjax.checkpoints.quantised.schemes import dequantised, take_scheme
from expertjax.checkpoints.quantised.weights import Scheme
from expertjax.checkpoints.readers import TensorSource, open_weights
from expertjax.checkpoints.text_half import TextSource, text_attributes
from expertjax.checkpoints.tokenizer import load_tokenizer
from expertjax.models.configs import pass_over

GENERATION = "generation_config.json"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Config, tensors and tokenizer of one checkpoint.

    Attributes:
      path: folder or file.
      config_path: what messages about the config should name.
      attributes: content of `config.json`; of multimodal models, the language model's.
      open_weights: the tensors by their Hugging Face names; likewise.
      load_tokenizer: the fast tokenizer.
      generation: content of `generation_config.json`; empty without one.
      ignored_config: name -> value of what the user wants passed over; `attributes`
        lacks it.
      dequantised: the scheme of weights that are kept quantised; "" of none.
    """

    path: Path
    config_path: Path
    attributes: dict[str, Any]
    open_weights: Callable[[], TensorSource]
    load_tokenizer: Callable[[], Any]
    generation: dict[str, Any] = dataclasses.field(default_factory=dict)
    ignored_config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    dequantised: str = ""


def open_checkpoint(path: Path, ignore_config: Collection[str] = ()) -> Checkpoint:
    """Reads the config; tensors and tokenizer wait until they are asked for.

    Args:
      path: from `find_checkpoint`.
      ignore_config: attributes to be passed over, see `configs.pass_over`.

    Raises:
      InputError: no config, or one that is damaged.
    """
    gguf = path if path.suffix == SUFFIX and path.is_file() else find_gguf(path)
    if gguf is not None:
        file = GGUFFile(gguf, ignore_config)
        attributes, ignored = pass_over(file.attributes, ignore_config)
        return Checkpoint(
            path,
            gguf,
            attributes,
            lambda: file,
            lambda: tokenizer_of(file),
            ignored_config=file.ignored | ignored,
            dequantised=file.dequantised,
        )
    config = path / "config.json"
    attributes, ignored = pass_over(read_json(config), ignore_config)
    whole, scheme = take_scheme(attributes, config)
    text = text_attributes(whole)
    return Checkpoint(
        path,
        config,
        whole if text is None else text,
        functools.partial(_open_folder, path, scheme, text, whole),
        lambda: load_tokenizer(path, whole),
        generation=read_json(path / GENERATION)
        if (path / GENERATION).is_file()
        else {},
        ignored_config=ignored,
        dequantised=scheme.name if scheme else "",
    )


def _open_folder(
    path: Path,
    scheme: Scheme | None,
    text: Mapping[str, Any] | None,
    whole: Mapping[str, Any],
) -> TensorSource:
    source = open_weights(path)
    if text is not None:
        source = TextSource(source)
    attributes = whole if text is None else text
    return dequantised(source, scheme, attributes) if scheme else source
