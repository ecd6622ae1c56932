"""Configs of the decoders: old and new spellings, hub checkpoints, refusals."""

from typing import Any

import numpy as np
import pytest

from expertjax.errors import InputError
from expertjax.models.decoder_config import DecoderConfig
from expertjax.models.registry import read_config
from expertjax.models.sites import UnitTable
from tests import bounds

SMALL = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
}
YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 32768,
}
PHI_FACTORS = {"short_factor": [1.0, 2.0] * 4, "long_factor": [3.0] * 8}


def read(model_type: str, **attributes: Any) -> DecoderConfig:
    attributes = {"model_type": model_type} | attributes
    return read_config(attributes, (), "config.json")[1]


def refusal(model_type: str, **attributes: Any) -> str:
    with pytest.raises(InputError) as error:
        read(model_type, **attributes)
    return str(error.value)


@pytest.mark.parametrize(
    ("model_type", "attributes"),
    [
        ("llama", {"rope_parameters": LLAMA3 | {"rope_theta": 5e5}, "head_dim": 64}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.5}}),
        ("qwen2", {"rope_parameters": YARN | {"rope_theta": 1e6}, "head_dim": 128}),
        ("qwen3", {"rope_parameters": YARN | {"rope_theta": 1e6, "beta_slow": 2.0}}),
        ("mistral", {"rope_parameters": YARN | {"attention_factor": 1.5}}),
        ("olmo2", {"rope_parameters": YARN | {"truncate": False, "factor": 8.0}}),
    ],
)
def test_frequencies_are_those_of_transformers(
    model_type: str, attributes: dict[str, Any]
) -> None:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    utils = pytest.importorskip("transformers.modeling_rope_utils")
    attributes = SMALL | {"max_position_embeddings": 131072} | attributes
    rotary = read(model_type, **attributes).rotary
    theirs = transformers.AutoConfig.for_model(model_type, **attributes)
    if not hasattr(theirs, "head_dim"):
        theirs.head_dim = 16
    kind = theirs.rope_parameters["rope_type"]
    frequencies, scale = utils.ROPE_INIT_FUNCTIONS[kind](theirs, None)
    # A power whose exponent, of at most 16, errs by one rounding.
    allowed = bounds.roundings(16)
    np.testing.assert_allclose(rotary.frequencies, frequencies.numpy(), rtol=allowed)
    assert rotary.scale == pytest.approx(scale)


def test_old_and_new_spellings_of_rotary_settings_agree() -> None:
    scaled = LLAMA3 | {"rope_theta": 5e5}
    new = read("llama", **SMALL, rope_parameters=scaled)
    old = {k: v for k, v in LLAMA3.items() if k != "rope_type"} | {"type": "llama3"}
    assert new == read("llama", **SMALL, rope_scaling=old, rope_theta=5e5)
    assert new == read("llama", **SMALL, rope_scaling=LLAMA3, rope_theta=500000)
    assert new != read("llama", **SMALL, rope_theta=5e5, rope_scaling=None)
    linear = {"rope_type": "linear", "factor": 8.0}
    by_kind = {
        "full_attention": linear | {"rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    thetas = {"rope_theta": 1000000, "rope_local_base_freq": 10000}
    new = read("gemma3_text", rope_parameters=by_kind)
    assert new == read("gemma3_text", rope_scaling=linear, **thetas)
    assert new.rotary != read("gemma3_text", **thetas).rotary


def test_limits_of_length_come_from_the_rotation() -> None:
    assert read("llama").max_positions is None
    dynamic = {"rope_type": "dynamic", "factor": 2.0}
    stretched = {"rope_scaling": dynamic, "max_position_embeddings": 99}
    assert read("llama", **stretched).max_positions == 99
    for name in ("longrope", "su", "yarn"):
        phi = read("phi3", **SMALL, rope_scaling=PHI_FACTORS | {"type": name})
        assert phi.max_positions == 4096


def test_sliding_layers() -> None:
    assert read("mistral", **SMALL).sliding == (True,) * 4
    assert read("mistral", **SMALL, sliding_window=None).sliding == ()
    assert read("mistral", **SMALL, sliding_window=None).window is None
    window = {"sliding_window": 5, "max_window_layers": 3}
    assert read("qwen2", **SMALL, **window).sliding == ()
    window["use_sliding_window"] = True
    assert read("qwen2", **SMALL, **window).sliding == (False,) * 3 + (True,)
    assert read("gemma2").sliding == (True, False) * 13
    pattern = {"num_hidden_layers": 7, "sliding_window_pattern": 3}
    assert read("gemma3_text", **pattern).sliding == (True, True, False) * 2 + (True,)


def test_attributes_of_known_hub_checkpoints_are_accepted() -> None:
    smollm = {"is_llama_config": True, "rope_interleaved": False, "rope_scaling": None}
    smollm |= {"transformers.js_config": {"dtype": "q4"}, "pretraining_tp": 1}
    read("llama", **smollm, rope_theta=100000, head_dim=None, mlp_bias=False)
    read("qwen2", use_mrope=False, sliding_window=32768, use_sliding_window=False)
    gemma = {"hidden_act": "gelu", "cache_implementation": "hybrid"}
    read("gemma2", **gemma)
    read("gemma3_text", **gemma, _sliding_window_pattern=6, rope_scaling=None)
    phi4 = {"full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False}
    read("phi3", **phi4, attention_bias=False, embd_pdrop=0.1, resid_pdrop=0.0)


@pytest.mark.parametrize(
    ("model_type", "attributes", "problem"),
    [
        ("llama", {"rope_interleaved": True}, "rope_interleaved=True is not"),
        ("llama", {"rope_theta": "x"}, "rope_theta='x' should be of type float"),
        ("llama", {"rope_theta": 0}, "rope_theta=0 should be more than 1"),
        ("llama", {"num_key_value_heads": 5}, "num_key_value_heads=5"),
        ("llama", {"head_dim": 7}, "odd 7 coordinates"),
        ("llama", {"sliding_window": 4}, "sliding_window=4 is not known"),
        ("llama", {"rope_scaling": 3}, "rope_scaling=3 should be an object"),
        ("mistral", {"layer_types": ["full_attention"]}, "layer_types="),
        ("qwen2", {"use_mrope": True}, "use_mrope=True is not implemented"),
        ("qwen2", {"layer_types": ["full_attention"]}, "each of the 32 layers"),
        ("qwen3", {"layer_types": ["sliding_attention"] * 32}, "no sliding_window"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional"),
        ("gemma2", {"query_pre_attn_scalar": 0}, "query_pre_attn_scalar=0"),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("phi3", {"attention_bias": True}, "attention_bias=True is not implemented"),
        ("phi3", {"rope_scaling": LLAMA3}, "rope_type='llama3' is not known"),
        ("phi3", {"rope_scaling": {"type": "su"}}, "short_factor should be 48 numbers"),
    ],
)
def test_what_is_not_implemented_is_named(
    model_type: str, attributes: dict[str, Any], problem: str
) -> None:
    assert problem in refusal(model_type, **attributes)


@pytest.mark.parametrize(
    ("scaling", "problem"),
    [
        ({"type": "ntk"}, "rope_type='ntk' is not known; known: default, dynamic"),
        ({"type": "linear"}, "factor=None should be a positive number"),
        ({"type": "linear", "factor": 0}, "factor=0 should be a positive number"),
        ({"factor": 2.0}, "factor=2.0 is not known"),
        ({"mrope_section": [2, 3, 3]}, "mrope_section=[2, 3, 3] is not known"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5 is not"),
        (LLAMA3 | {"high_freq_factor": 1}, "high_freq_factor=1 should exceed 1.0"),
        ({"full_attention": {}}, "full_attention={} is not known"),
    ],
)
def test_rotary_settings_that_are_not_understood_are_named(
    scaling: dict[str, Any], problem: str
) -> None:
    message = refusal("llama", **SMALL, rope_scaling=scaling)
    assert f"rope_scaling: {problem}" in message


def test_two_rotary_settings_must_agree() -> None:
    both = {"rope_scaling": LLAMA3, "rope_parameters": YARN}
    assert "rope_parameters and rope_scaling differ" in refusal("llama", **both)
    read("llama", rope_scaling=LLAMA3, rope_parameters=LLAMA3)
    full = {"full_attention": {"rope_type": "default"}}
    message = refusal("gemma3_text", rope_parameters=full, rope_scaling=LLAMA3)
    assert "rope_parameters: full_attention: rope_type='default'" in message


@pytest.mark.parametrize(
    ("model_type", "attributes", "num_units"),
    [
        (
            "llama",  # SmolLM2-135M
            {
                "hidden_size": 576,
                "intermediate_size": 1536,
                "num_attention_heads": 9,
                "num_hidden_layers": 30,
                "num_key_value_heads": 3,
            },
            30 * (576 + 2 * 192 + 576 + 2 * 1536 + 576),
        ),
        ("phi3", {}, 32 * (3 * 3072 + 3072 + 2 * 8192 + 3072)),
        ("gemma2", {}, 26 * (2048 + 2 * 1024 + 2304 + 2 * 9216 + 2304)),
    ],
)
def test_units_are_counted(
    model_type: str, attributes: dict[str, Any], num_units: int
) -> None:
    attributes = {"model_type": model_type} | attributes
    family, config = read_config(attributes, (), "config.json")
    table = UnitTable.build(family.sites(config), config.num_layers)
    assert table.num_units == num_units
