"""Architectures of llama.cpp whose MLPs are mixtures of experts; see `gguf_tables`.

What is fixed here, llama.cpp has in the code of each architecture: whether a token's
weights add up to 1, and all of gpt-oss's gates.
"""

from collections.abc import Mapping
from typing import Any

from expertjax.checkpoints.gguf_tables import (
    ARCHITECTURES,
    ATTENTION,
    NUMBERS,
    PRE_NORMS,
    QK_NORMS,
    SILU,
    THETA,
    Architecture,
    in_blocks,
    modules_of,
)


def _experts(module: str) -> dict[str, str]:
    names = {"gate": "gate_up", "up": "gate_up", "down": "down"}
    return in_blocks(
        {f"ffn_{ours}_exps": f"{module}.experts.{n}_proj" for ours, n in names.items()}
    )


def _numbers(experts: str, **more: str) -> dict[str, str]:
    used = {"expert_count": experts, "expert_used_count": "num_experts_per_tok"}
    return NUMBERS | used | more


_ROUTER = {"ffn_gate_inp": "mlp.gate"}
_SHARED = {
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
_WHOLE = {"use_sliding_window": False}

# Under "llama" stands what is not dense.
MIXTURES = {
    "llama": Architecture(
        model_type="mixtral",
        class_name="MixtralForCausalLM",
        numbers=_numbers("num_local_experts"),
        modules=modules_of(PRE_NORMS, ATTENTION, _ROUTER),
        parameters=_experts("mlp"),
        fixed=SILU,
        defaults=THETA,
        permuted=True,
    ),
    "qwen2moe": Architecture(
        model_type="qwen2_moe",
        class_name="Qwen2MoeForCausalLM",
        numbers=_numbers(
            "num_experts",
            expert_feed_forward_length="moe_intermediate_size",
            expert_shared_feed_forward_length="shared_expert_intermediate_size",
        ),
        modules=modules_of(PRE_NORMS, ATTENTION, _ROUTER, _SHARED),
        parameters=_experts("mlp"),
        fixed=SILU | _WHOLE | {"norm_topk_prob": False},
        defaults=THETA,
        rows=("shared_expert_gate",),
    ),
    "qwen3moe": Architecture(
        model_type="qwen3_moe",
        class_name="Qwen3MoeForCausalLM",
        numbers=_numbers(
            "num_experts", expert_feed_forward_length="moe_intermediate_size"
        ),
        modules=modules_of(PRE_NORMS, ATTENTION, QK_NORMS, _ROUTER),
        parameters=_experts("mlp"),
        fixed=SILU | _WHOLE | {"norm_topk_prob": True},
        defaults=THETA,
    ),
    "olmoe": Architecture(
        model_type="olmoe",
        class_name="OlmoeForCausalLM",
        numbers=_numbers("num_experts") | {"attention.clamp_kqv": "clip_qkv"},
        modules=modules_of(PRE_NORMS, ATTENTION, QK_NORMS, _ROUTER),
        parameters=_experts("mlp"),
        fixed=SILU | {"norm_topk_prob": False},
        defaults=THETA,
    ),
    "granitemoe": Architecture(
        model_type="granitemoe",
        class_name="GraniteMoeForCausalLM",
        numbers=_numbers(
            "num_local_experts",
            embedding_scale="embedding_multiplier",
            residual_scale="residual_multiplier",
            logit_scale="logits_scaling",
        )
        | {"attention.scale": "attention_multiplier"},
        modules=modules_of(
            PRE_NORMS, ATTENTION, {"ffn_gate_inp": "block_sparse_moe.router"}
        ),
        parameters=_experts("block_sparse_moe"),
        fixed=SILU,
        defaults=THETA,
        permuted=True,
    ),
    "gpt-oss": Architecture(
        model_type="gpt_oss",
        class_name="GptOssForCausalLM",
        numbers=_numbers(
            "num_local_experts", expert_feed_forward_length="intermediate_size"
        )
        | {"attention.sliding_window": "sliding_window"},
        modules=modules_of(
            {
                "attn_norm": "input_layernorm",
                "post_attention_norm": "post_attention_layernorm",
            },
            ATTENTION,
            {"ffn_gate_inp": "mlp.router"},
        ),
        parameters=_experts("mlp") | in_blocks({"attn_sinks": "self_attn.sinks"}),
        fixed=SILU,
        dealt_out=True,
        yarn={"beta_fast": 32.0, "beta_slow": 1.0, "truncate": False},
    ),
}
KNOWN = tuple(dict.fromkeys([*ARCHITECTURES, *MIXTURES]))


def architecture_of(metadata: Mapping[str, Any]) -> Architecture | None:
    """The row of a file, by its metadata; None if there is none."""
    name = metadata.get("general.architecture", "")
    may_be_dense = name in ARCHITECTURES and not metadata.get(f"{name}.expert_count")
    found = None if may_be_dense else MIXTURES.get(name)
    return found or ARCHITECTURES.get(name)
