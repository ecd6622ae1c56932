"""The language model of a multimodal folder, as if it had been saved alone.

Units are those of the language model. The parts that see read no text, so their tensors
and settings are left out; what remains is the folder of a family that is known, and
whatever that does not understand is refused as ever.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from expertjax.checkpoints.readers import TensorSource

# `model_type` -> that of the language model, where its config does not say, and
# whether embeddings are tied, where neither config does.
_MULTIMODAL = {
    "gemma3": ("gemma3_text", True),
    "llava": ("llama", False),
    "mistral3": ("mistral", True),
    "qwen2_5_vl": ("qwen2_5_vl_text", False),
}
MULTIMODAL = frozenset(_MULTIMODAL)

# Modules and settings of the other parts.
_PARTS = frozenset({"multi_modal_projector", "vision_tower", "visual"})
_SETTINGS = frozenset(
    """
    boi_token_index eoi_token_index ignore_index image_seq_length image_token_id
    image_token_index mm_tokens_per_image multimodal_projector_bias
    projector_hidden_act spatial_merge_size video_token_id vision_config
    vision_end_token_id vision_feature_layer vision_feature_select_strategy
    vision_start_token_id vision_token_id
    """.split()
)
_OF_THE_WHOLE = _SETTINGS | {"architectures", "model_type", "text_config"}


def text_attributes(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config of the language model alone; None where a config is of nothing else.

    What the whole config says of no other part holds for the language model, unless
    that has its own word: a quantisation, or the tokens that end a text.

    Args:
      attributes: the content of `config.json`.
    """
    model_type = attributes.get("model_type")
    if model_type not in _MULTIMODAL:
        return None
    own_type, tied = _MULTIMODAL[model_type]
    inner = attributes.get("text_config") or {}
    if not isinstance(inner, Mapping):
        return None  # for the registry to refuse
    outer = {k: v for k, v in attributes.items() if k not in _OF_THE_WHOLE}
    tied = outer.pop("tie_word_embeddings", tied)
    if model_type == "llava":  # the one that heeds either
        tied = tied or inner.get("tie_word_embeddings", False)
    return {
        **outer,
        "model_type": own_type,
        **inner,
        "tie_word_embeddings": tied,
    }


def text_key(key: str) -> str | None:
    """What a tensor is called where the language model was saved alone.

    Args:
      key: its name in the whole, as any version of transformers wrote it.

    Returns:
      None if it is of another part.
    """
    first, _, rest = key.removeprefix("model.").partition(".")
    if first in _PARTS:
        return None
    if first != "language_model":
        return key
    return rest if rest.startswith(("model.", "lm_head.")) else f"model.{rest}"


class TextSource:
    """The language model's tensors among all."""

    def __init__(self, source: TensorSource) -> None:
        """Says in one line what is left out.

        Args:
          source: of the whole.
        """
        self.name, self._source = source.name, source
        names = {key: text_key(key) for key in source.shapes}
        self._keys = {ours: key for key, ours in names.items() if ours is not None}
        self.shapes = {ours: source.shapes[key] for ours, key in self._keys.items()}
        self.dtypes = {ours: source.dtypes[key] for ours, key in self._keys.items()}
        others = [key for key, ours in names.items() if ours is None]
        parts = {key.removeprefix("model.").partition(".")[0] for key in others}
        logging.warning(
            "%s: of this multimodal model the language model is loaded; %d tensors of "
            "its other parts (%s) are left out",
            self.name,
            len(others),
            ", ".join(sorted(parts)) or "none were saved",
        )

    def read(self, key: str) -> np.ndarray:
        """One tensor as a host array."""
        return self._source.read(self._keys[key])
