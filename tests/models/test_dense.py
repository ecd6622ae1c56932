"""Decoders beyond Llama's: configs of the hub, refusals, tables, programs."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from expertjax.checkpoints.load import abstract_module, load_model, save_huggingface
from expertjax.models.attention import Inputs
from expertjax.models.edits import Probe
from expertjax.models.registry import family_of, read_config
from tests.models.cases_dense import CASES
from tests.models.parity import make_case
from tests.models.test_decoders import read, refusal
from tests.torch_reference import load_torch

# A config each: what its variants do differently is in the parity tests.
PLAIN = [name for name in CASES if "-" not in name]


def test_attributes_of_known_hub_checkpoints_are_accepted() -> None:
    read("gemma", hidden_act="gelu", hidden_activation=None)
    read("gemma", hidden_act="gelu", hidden_activation="gelu_pytorch_tanh")
    gptj = {"rotary": True, "scale_attn_weights": True, "gradient_checkpointing": False}
    read(
        "gptj", **gptj, n_embd=4096, n_layer=28, n_head=16, attn_pdrop=0.0, n_inner=None
    )
    kinds = ["global", "local"]
    neo = {"attention_types": [[kinds, 6]], "attention_layers": kinds * 6}
    read("gpt_neo", **neo, num_layers=12, num_heads=12, hidden_size=768)
    smollm = {"max_window_layers": 28, "pretraining_tp": 2, "mlp_bias": False}
    smollm |= {"layer_types": ["full_attention"] * 36, "sliding_window": None}
    read("smollm3", **smollm, no_rope_layers=[1, 1, 1, 0] * 9, rope_theta=5e6)
    cohere = {"layer_switch": 4, "order_of_interleaved_layers": "local_attn_first"}
    cohere |= {"position_embedding_type": "rope_gptj", "rotary_pct": 1.0}
    cohere |= {"use_embedding_sharing": True, "use_gated_activation": True}
    cohere |= {"use_parallel_block": True, "use_parallel_embedding": True}
    sizes = {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8}
    read("cohere2", **cohere, **sizes, head_dim=128, sliding_window_pattern=4)
    read("falcon", apply_residual_connection_post_layernorm=False, alibi=False)
    phi = {"hidden_size": 2560, "resid_pdrop": 0.1, "embd_pdrop": 0.0}
    read("phi", **phi, partial_rotary_factor=0.4, qk_layernorm=False)
    read("stablelm", partial_rotary_factor=0.25, rope_theta=10000, use_qkv_bias=True)
    yarn = {"rope_type": "yarn", "factor": 8.0, "attention_factor": 1.2}
    yarn |= {"original_max_position_embeddings": 8192, "beta_fast": 32.0}
    third = read("olmo3", rope_scaling=yarn, rope_theta=500000)
    assert third.rotary != third.local_rotary
    tempered = {"type": "yarn", "rope_theta": 1e6, "factor": 16.0, "mscale": 1.0}
    tempered |= {"original_max_position_embeddings": 16384, "mscale_all_dim": 1.0}
    tempered |= {"llama_4_scaling_beta": 0.1, "max_position_embeddings": 262144}
    assert read("ministral3", rope_parameters=tempered) == read("ministral3")


def test_old_and_new_spellings_agree() -> None:
    assert read("gemma", hidden_act="gelu") == read("gemma")
    rope = {"rope_theta": 77.0, "partial_rotary_factor": 0.5, "rope_type": "default"}
    for model_type in ("stablelm", "nemotron", "glm4", "phi"):
        old = read(model_type, rope_theta=77.0, partial_rotary_factor=0.5)
        assert old == read(model_type, rope_parameters=rope) != read(model_type)
    assert read("gptj", n_positions=9) == read("gptj", max_position_embeddings=9)
    assert read("cohere2", sliding_window_pattern=2).unrotated == (False, True) * 20
    assert read("smollm3").unrotated == (False, False, False, True) * 9
    heads = {"num_attention_heads": 8, "hidden_size": 64, "num_kv_heads": 2}
    assert read("falcon", **heads).num_kv_heads == 1
    assert read("falcon", **heads, multi_query=False).num_kv_heads == 8
    assert read("falcon", **heads, new_decoder_architecture=True).num_kv_heads == 2


def test_limits_of_length() -> None:
    assert read("gpt_neo").max_positions == 2048
    assert read("gptj", n_positions=99).max_positions == 99
    assert read("ministral3").max_positions == 16384
    assert read("falcon", alibi=True).max_positions is None


@pytest.mark.parametrize(
    ("model_type", "attributes", "problem"),
    [
        ("gemma", {"hidden_activation": "relu"}, "hidden_activation='relu' is not"),
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional"),
        ("olmo", {"layer_norm_eps": 1e-3}, "layer_norm_eps=0.001 is not known"),
        ("olmo3", {"rope_theta": 1e4}, "rope_theta=10000.0 is not implemented"),
        ("granite", {"logits_scaling": 0}, "logits_scaling=0 divides"),
        ("smollm3", {"no_rope_layers": [1, 0]}, "0 or 1 for each of 36 layers"),
        ("smollm3", {"no_rope_layers": [2] * 36}, "0 or 1 for each of 36 layers"),
        ("smollm3", {"layer_types": ["sliding_attention"] * 36}, "no sliding_window"),
        ("stablelm", {"qk_layernorm": True}, "qk_layernorm=True is not implemented"),
        ("stablelm", {"head_dim": 64}, "head_dim=64 is not hidden_size=2560 divided"),
        ("starcoder2", {"layer_types": ["full_attention"]}, "layer_types="),
        ("cohere2", {"rotary_pct": 0.5}, "rotary_pct=0.5 is not implemented"),
        ("cohere2", {"use_parallel_block": False}, "use_parallel_block=False is not"),
        ("cohere2", {"layer_switch": 3}, "layer_switch=3 is not implemented, only 4"),
        ("cohere2", {"use_qk_norm": True}, "use_qk_norm=True is not implemented"),
        ("cohere2", {"sliding_window": None}, "no sliding_window"),
        ("gptj", {"rotary": False}, "rotary=False is not implemented"),
        ("gptj", {"rotary_dim": 7}, "rotary_dim=7 is odd"),
        ("gptj", {"rotary_dim": 512}, "more than a head's 256"),
        ("gptj", {"rotary_dim": None}, "rotary_dim=None should be of type int"),
        ("gptj", {"num_key_value_heads": 2}, "num_key_value_heads=2 is not"),
        ("gpt_neo", {"num_layers": 3}, "global or local for each of 3 layers"),
        ("gpt_neo", {"attention_types": [3]}, "should name global or local"),
        ("gpt_neo", {"attention_types": [[["full"], 24]]}, "should name global"),
        ("gpt_neo", {"attention_layers": ["global"]}, "attention_layers="),
        ("phi", {"rope_scaling": {"type": "longrope"}}, "short_factor"),
        (
            "falcon",
            {"apply_residual_connection_post_layernorm": True},
            "apply_residual_connection_post_layernorm=True is not implemented",
        ),
        ("falcon", {"num_ln_in_parallel_attn": 2}, "do not go together"),
        (
            "falcon",
            {"new_decoder_architecture": True, "parallel_attn": False},
            "do not go together",
        ),
        ("ministral3", {"rope_parameters": {"rope_type": "linear"}}, "known: yarn"),
        (
            "qwen2_5_vl_text",
            {"rope_scaling": {"type": "yarn"}},
            "known: default, mrope",
        ),
    ],
)
def test_what_is_not_implemented_is_named(
    model_type: str, attributes: dict[str, Any], problem: str
) -> None:
    assert problem in refusal(model_type, **attributes)


@pytest.mark.parametrize("name", [*PLAIN, "falcon-new", "gptj-tied-inner"])
def test_what_is_saved_is_what_transformers_saves(name: str, tmp_path: Path) -> None:
    """The key table, both ways."""
    case = make_case(name, tmp_path / "m")
    save_huggingface(case.model, tmp_path / "saved")
    again = load_torch(tmp_path / "saved", case.model.attributes["architectures"][0])
    wanted, found = case.torch.state_dict(), again.state_dict()
    assert wanted.keys() == found.keys()
    assert all((wanted[key] == found[key]).all() for key in wanted)
    assert load_model(str(tmp_path / "saved")).config == case.model.config


@pytest.mark.parametrize("name", PLAIN)
def test_the_program_does_not_grow_with_depth(name: str) -> None:
    """And so neither does the time to compile it."""
    assert lines_of(*tiny(name, 12)) == lines_of(*tiny(name, 48))


def lines_of(family: Any, config: Any) -> int:
    """How long the program of a forward pass is."""
    graphdef, params = abstract_module(family, config, jnp.float32)
    record = frozenset(site.name for site in family.sites(config))

    def forward(params: Any, tokens: Any) -> Any:
        probe = Probe(pool=lambda z: z.max(1), record=record)
        return nnx.merge(graphdef, params)(Inputs.of(tokens, tokens), probe).pooled

    tokens = jax.ShapeDtypeStruct((2, 8), jnp.int32)
    return jax.jit(forward).lower(params, tokens).as_text().count("\n")


def tiny(name: str, depth: int) -> tuple[Any, Any]:
    """The family of a case, and its config with another number of layers."""
    transformers = pytest.importorskip("transformers")
    architecture, attributes = CASES[name]
    given = getattr(transformers, architecture).config_class(**attributes).to_dict()
    family, config = read_config(given, ("lm_head.weight", "lm_head.bias"), name)
    assert family_of(given, name) is family
    by_layer = {
        field: (getattr(config, field) * depth)[:depth]
        for field in ("sliding", "unrotated")
    }
    return family, dataclasses.replace(config, num_layers=depth, **by_layer)
