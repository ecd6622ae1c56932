"""Every head that transformers puts on a family is passed over: all units are there."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from expertjax.checkpoints import rules
from expertjax.checkpoints.load import abstract_module, load_model
from expertjax.errors import InputError
from expertjax.models.registry import FAMILIES, read_config
from tests.tiny_models import make_tiny, make_tiny_gpt2

MODEL_TYPES = [name for family in FAMILIES for name in family.model_types]
# What transformers' own classes cannot do without, though their configs can.
LAYERS = 4  # a layer's names are like another's
NEEDED: dict[str, dict[str, Any]] = {
    "ministral": {"head_dim": 128},
    "nemotron": {"num_key_value_heads": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], LAYERS // 2]]},
}
# Saved under other names than those of transformers' own class.
RENAMED = ("nomic_bert",)
# A decoder that has lost its encoder; its config says so, and is refused.
HALVES = ("BartForCausalLM",)
# The one class is a part of another model.
HEADLESS = ("qwen2_5_vl_text",)


class Shapes:
    """A checkpoint of which nothing is read."""

    name = "shapes"

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        self.dtypes = dict.fromkeys(shapes, "float32")

    def read(self, key: str) -> np.ndarray:
        raise AssertionError(key)


def architectures(model_type: str) -> Iterator[Any]:
    """The classes of transformers whose config is of a model type."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    config = type(transformers.AutoConfig.for_model(model_type))
    module = importlib.import_module(
        config.__module__.replace(".configuration_", ".modeling_")
    )
    for name in module.__all__:
        kind = getattr(module, name)
        whole = name.endswith(("Model", "ForPreTraining", "Simple")) or "For" in name
        if whole and "pretrained" not in name.lower() and kind.config_class is config:
            yield kind


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_no_head_stands_in_the_way(model_type: str, tied: bool) -> None:
    import torch
    from transformers import core_model_loading

    found = list(architectures(model_type))
    assert len(found) > (model_type not in HEADLESS)
    needed = NEEDED.get(model_type, {})
    for kind in found:
        settings = kind.config_class(
            tie_word_embeddings=tied, num_hidden_layers=LAYERS, **needed
        )
        with torch.device("meta"):
            theirs = kind(settings)
        # As it is saved: tied tensors once.
        tensors = theirs.state_dict()
        if model_type in RENAMED:
            tensors = core_model_loading.revert_weight_conversion(theirs, tensors)
        drop = getattr(theirs, "all_tied_weights_keys", None) or {}
        shapes = {k: tuple(v.shape) for k, v in tensors.items() if k not in drop}
        attributes = json.loads(settings.to_json_string(use_diff=False))
        if kind.__name__ in HALVES:
            with pytest.raises(InputError, match="is_decoder=True"):
                read_config(attributes, list(shapes), kind.__name__)
            continue
        family, config = read_config(attributes, list(shapes), kind.__name__)
        _, abstract = abstract_module(family, config, jnp.float32)
        wanted = {
            ".".join(map(str, p)): tuple(v.shape) for p, v in abstract.flat_state()
        }
        assert rules.plan_params(family, Shapes(shapes), wanted), kind.__name__


_LLAMA = {"vocab_size": 270, "hidden_size": 32, "intermediate_size": 48}
_LLAMA |= {"num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
_LLAMA |= {"num_key_value_heads": 4}
_XLNET = {"vocab_size": 270, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}
_XLM = {"vocab_size": 270, "emb_dim": 32, "n_layers": 2, "n_heads": 4}
_CTRL = {"vocab_size": 270, "n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48}
_GPT2 = {"vocab_size": 270, "n_embd": 32, "n_layer": 2, "n_head": 4}
_GPT2 |= {"bos_token_id": 0, "eos_token_id": 0}


@pytest.mark.parametrize(
    ("architecture", "sizes"),
    [
        ("GPT2ForSequenceClassification", _GPT2 | {"tie_word_embeddings": False}),
        ("GPT2DoubleHeadsModel", _GPT2),
        ("OpenAIGPTDoubleHeadsModel", _GPT2),
        ("LlamaForQuestionAnswering", _LLAMA),
        ("Qwen2ForTokenClassification", _LLAMA),
        ("BloomForTokenClassification", {"vocab_size": 270, "hidden_size": 32}),
        ("XLNetForQuestionAnswering", _XLNET),
        ("XLMForQuestionAnswering", _XLM),
        ("CTRLForSequenceClassification", _CTRL),
    ],
)
def test_a_model_with_a_head_is_the_model_below_it(
    architecture: str, sizes: dict[str, Any], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    folder = make_tiny(tmp_path / "whole", architecture, **sizes)
    whole = getattr(transformers, architecture).from_pretrained(folder)
    bare = make_tiny(tmp_path / "bare", architecture, **sizes)
    (bare / "model.safetensors").unlink()
    whole.base_model.save_pretrained(bare)
    ours, theirs = load_model(str(folder)).params, load_model(str(bare)).params
    ours, theirs = dict(ours.flat_state()), dict(theirs.flat_state())
    assert theirs.keys() <= ours.keys()
    for path, variable in theirs.items():
        np.testing.assert_array_equal(ours[path][...], variable[...], str(path))


def test_without_its_head_an_untied_model_has_no_logits(tmp_path: Path) -> None:
    from flax import nnx

    settings = {"tie_word_embeddings": False, "architecture": "GPT2Model"}
    model = load_model(str(make_tiny_gpt2(tmp_path / "m", **settings)))
    module = nnx.merge(model.graphdef, model.params)
    with pytest.raises(InputError, match="no language model head"):
        module.logits(jnp.zeros((1, 2, 32)))
