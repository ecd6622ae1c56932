"""What `config.json` may say, and what is refused."""

from typing import Any

import pytest

from expertjax.errors import InputError
from expertjax.models.bert import BertConfig
from expertjax.models.configs import pass_over
from expertjax.models.gpt2 import GPT2Config
from expertjax.models.registry import FAMILIES, read_config

SOURCE = "models/x/config.json"
HEAD = ("cls.predictions.transform.dense.weight",)


def read(model_type: str, keys: tuple[str, ...] = (), **attributes: Any) -> Any:
    return read_config({"model_type": model_type} | attributes, keys, SOURCE)[1]


def refusal(model_type: str, **attributes: Any) -> str:
    with pytest.raises(InputError) as error:
        read(model_type, **attributes)
    message = str(error.value)
    assert SOURCE in message
    return message


def test_defaults_are_those_of_the_hub() -> None:
    assert read("gpt2") == GPT2Config()
    assert read("bert", HEAD) == BertConfig()
    assert not read("bert").masked_lm_head


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_defaults_are_those_of_transformers(family: Any) -> None:
    transformers = pytest.importorskip("transformers")
    for model_type in family.model_types:
        theirs = transformers.AutoConfig.for_model(model_type).to_dict()
        plain, full = {"model_type": model_type}, theirs | {"model_type": model_type}
        assert read_config(plain, (), "")[1] == read_config(full, (), "")[1]


def test_values_are_taken() -> None:
    config = read("gpt2", n_embd=20, n_head=5, n_layer=2, layer_norm_epsilon=1)
    assert (config.width, config.num_heads, config.num_layers) == (20, 5, 2)
    assert config.mlp_width == 80
    assert config.layer_norm_epsilon == 1
    assert read("gpt2", n_inner=7).mlp_width == 7
    assert read("gpt2", n_inner=None).mlp_width == 3072


def test_attributes_of_known_hub_checkpoints_are_accepted() -> None:
    old_gpt2 = {"n_special": 0, "predict_special_tokens": True, "_num_labels": 1}
    read("gpt2", **old_gpt2, n_ctx=1024, summary_activation=None, output_past=True)
    pooler = {"pooler_fc_size": 768, "pooler_type": "first_token_transform"}
    read("bert", **pooler, directionality="bidi", xla_device=True, pruned_heads={})


MODEL_TYPES = [name for family in FAMILIES for name in family.model_types]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_attributes_that_change_nothing_are_accepted(model_type: str) -> None:
    """What trainers, browsers and versions of transformers leave in configs."""
    transformers = pytest.importorskip("transformers")
    plain = {"unsloth_fixed": True, "unsloth_version": "2025.1", "is_decoder": False}
    plain |= {"max_sequence_length": 2048, "_commit_hash": "9f1c", "pruned_heads": {}}
    plain |= {"transformers.js_config": {"dtype": "q4"}, "max_new_tokens": 20}
    plain |= {"add_cross_attention": False, "is_encoder_decoder": None}
    plain |= {"quantization_config": None, "anything": None, "rope_scaling": None}
    assert read(model_type, **plain) == read(model_type)
    generation = transformers.GenerationConfig().to_dict()
    generation.pop("pad_token_id")  # with which some compute
    assert read(model_type, **generation | {"do_sample": True}) == read(model_type)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_null_is_no_value_of_what_matters(model_type: str) -> None:
    if model_type == "xlnet":
        message = refusal(model_type, untie_r=None)
        assert "untie_r=None is not implemented, only True" in message
    assert "vocab_size=None should be" in refusal(model_type, vocab_size=None)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_what_every_config_may_say_is_looked_at(model_type: str) -> None:
    changes = {"pruned_heads": {"0": [1]}, "add_cross_attention": True}
    message = refusal(model_type, **changes, is_encoder_decoder=True)
    names = ["pruned_heads", "add_cross_attention", "is_encoder_decoder"]
    both = next(f for f in FAMILIES if model_type in f.model_types).encoder_decoder
    for name in names[:2] if both else names:
        assert f"{name}=" in message


def test_a_refusal_ends_with_what_a_user_can_do() -> None:
    message = refusal("gpt2", quantization={"bits": 4}, foo=1)
    assert "(MLX's quantised weights; take what they are made of)" in message
    assert message.splitlines()[-1].startswith("What changes no output of the model")
    assert "--ignore_config=NAME" in message.splitlines()[-1]


def test_attributes_are_passed_over_by_name() -> None:
    rope = {"rope_theta": 7.0, "odd": {"deep": 1}}
    given = {"foo": 1, "a.b": 2, "rope_parameters": rope, "n_layer": 2}
    names = ["foo", "a.b", "rope_parameters.odd.deep", "absent", "n_layer.x"]
    left, taken = pass_over(given, names)
    assert taken == {"foo": 1, "a.b": 2, "rope_parameters.odd.deep": 1}
    assert left == {"rope_parameters": rope | {"odd": {}}, "n_layer": 2}
    assert given["rope_parameters"]["odd"] == {"deep": 1}
    assert pass_over(given, []) == (given, {})


@pytest.mark.parametrize("model_type", ["gpt2", "bert"])
def test_unknown_attributes_are_named(model_type: str) -> None:
    message = refusal(model_type, rope_theta=1e4, quantization_config={"bits": 4})
    assert "rope_theta=10000.0 is not known" in message
    assert "quantization_config={'bits': 4} is not known" in message


@pytest.mark.parametrize(
    ("model_type", "attribute", "value"),
    [
        ("gpt2", "add_cross_attention", True),
        ("gpt2", "is_encoder_decoder", True),
        ("gpt2", "n_special", 3),
        ("gpt2", "pruned_heads", {"0": [1]}),
        ("gpt2", "activation_function", "mish"),
        ("bert", "position_embedding_type", "relative_key"),
        ("bert", "is_decoder", True),
        ("bert", "add_cross_attention", True),
        ("bert", "hidden_act", "no_such_gelu"),
    ],
)
def test_values_that_are_not_implemented_are_named(
    model_type: str, attribute: str, value: Any
) -> None:
    assert f"{attribute}={value!r} is not" in refusal(model_type, **{attribute: value})


@pytest.mark.parametrize(
    ("model_type", "attribute", "value", "kind"),
    [
        ("gpt2", "n_layer", "12", "int"),
        ("gpt2", "n_layer", True, "int"),
        ("gpt2", "n_embd", None, "int"),
        ("gpt2", "n_head", 12.0, "int"),
        ("gpt2", "n_inner", "wide", "int"),
        ("gpt2", "scale_attn_weights", 1, "bool"),
        ("gpt2", "layer_norm_epsilon", "1e-5", "float"),
        ("gpt2", "activation_function", 3, "str"),
        ("bert", "hidden_size", [768], "int"),
        ("bert", "hidden_act", None, "str"),
        ("bert", "layer_norm_eps", False, "float"),
        ("bert", "tie_word_embeddings", "yes", "bool"),
    ],
)
def test_values_of_another_type_are_named(
    model_type: str, attribute: str, value: Any, kind: str
) -> None:
    message = refusal(model_type, **{attribute: value})
    assert f"{attribute}={value!r} should be of type {kind}" in message


def test_sizes_must_be_possible() -> None:
    assert "n_layer=0 should be at least 1" in refusal("gpt2", n_layer=0)
    assert "n_head=-4 should be at least 1" in refusal("gpt2", n_head=-4)
    assert "n_embd=30 is not a multiple" in refusal("gpt2", n_embd=30, n_head=4)
    message = refusal("bert", hidden_size=30, num_attention_heads=4)
    assert "hidden_size=30 is not a multiple of num_attention_heads=4" in message


def test_all_problems_come_at_once() -> None:
    message = refusal("gpt2", n_layer="x", n_head=0, activation_function="q", foo=1)
    for name in ("n_layer", "n_head", "activation_function", "foo"):
        assert f"\n  - {name}=" in message


@pytest.mark.parametrize("attributes", [{}, {"model_type": "mamba"}])
def test_an_unknown_family_is_refused(attributes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is not known; known: ") as error:
        read_config(attributes, (), SOURCE)
    assert repr(attributes.get("model_type")) in str(error.value)
    assert SOURCE in str(error.value)
