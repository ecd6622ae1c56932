"""What llama.cpp calls things, by architecture, and what Hugging Face calls them.

Sources: the GGUF specification (ggml/docs/gguf.md) for the metadata; llama.cpp's
convert_hf_to_gguf.py for the names of tensors and for what it does to their values,
which is undone here.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One of llama.cpp's architectures.

    Attributes:
      model_type: Hugging Face's.
      class_name: Hugging Face's class, for `architectures` in config.json.
      numbers: metadata key without the architecture -> attribute of config.json.
      modules: GGUF tensor without ".weight" -> torch module, or the parameter.
      fixed: attributes that are always so.
      defaults: attributes where the metadata does not say, as in llama.cpp.
      permuted: are rows of q and k in the order that llama.cpp's rotation wants?
      norms_plus_one: has 1 been added to the weights of norms?
      transposed: torch modules that keep [in, out], which GGUF does not.
    """

    model_type: str
    class_name: str
    numbers: Mapping[str, str]
    modules: Mapping[str, str]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    permuted: bool = False
    norms_plus_one: bool = False
    transposed: tuple[str, ...] = ()

    def is_transposed(self, key: str) -> bool:
        """Does torch keep this tensor the other way round?"""
        return key.removesuffix(".weight").endswith(self.transposed or ("\0",))

    def restore(
        self, key: str, tensor: np.ndarray, attributes: Mapping[str, Any]
    ) -> np.ndarray:
        """Undoes what the conversion did to a tensor.

        Args:
          key: Hugging Face's name.
          tensor: in GGUF's layout.
          attributes: the `config.json` that was made of the metadata.
        """
        module, _, kind = key.rpartition(".")
        if self.permuted and module.endswith("q_proj"):
            return unpermute(tensor, attributes["num_attention_heads"])
        if self.permuted and module.endswith("k_proj"):
            return unpermute(tensor, attributes["num_key_value_heads"])
        if self.norms_plus_one and module.endswith("norm") and kind == "weight":
            return tensor - 1
        return tensor.T if self.is_transposed(key) else tensor


def unpermute(tensor: np.ndarray, num_heads: int) -> np.ndarray:
    """Rows of each head: pairs of neighbours become pairs that are K / 2 apart.

    llama.cpp rotates neighbours (GPT-J's way) where Hugging Face's Llama rotates the
    two halves of a head; LlamaModel.permute of the converter is its inverse.
    """
    heads = tensor.reshape(num_heads, -1, 2, *tensor.shape[1:])
    return heads.swapaxes(1, 2).reshape(tensor.shape)


_NUMBERS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}
_TOP = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER = "model.layers.{layer}."
_LINEAR = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PRE_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_SANDWICH_NORMS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_QK_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}


def _modules(*blocks: Mapping[str, str]) -> dict[str, str]:
    inner = {name: module for block in blocks for name, module in block.items()}
    return _TOP | {f"blk.{{layer}}.{n}": _LAYER + m for n, m in inner.items()}


_GPT2_BLOCK = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_SILU = {"hidden_act": "silu"}
_GELU = {"hidden_activation": "gelu_pytorch_tanh"}
_THETA = {"rope_theta": 10000.0}

ARCHITECTURES = {
    "llama": Architecture(
        model_type="llama",
        class_name="LlamaForCausalLM",
        numbers=_NUMBERS,
        modules=_modules(_PRE_NORMS, _LINEAR),
        fixed=_SILU,
        defaults=_THETA,
        permuted=True,
    ),
    "qwen2": Architecture(
        model_type="qwen2",
        class_name="Qwen2ForCausalLM",
        numbers=_NUMBERS,
        modules=_modules(_PRE_NORMS, _LINEAR),
        fixed=_SILU | {"use_sliding_window": False},
        defaults=_THETA,
    ),
    "qwen3": Architecture(
        model_type="qwen3",
        class_name="Qwen3ForCausalLM",
        numbers=_NUMBERS,
        modules=_modules(_PRE_NORMS, _LINEAR, _QK_NORMS),
        fixed=_SILU | {"use_sliding_window": False},
        defaults=_THETA,
    ),
    "gemma2": Architecture(
        model_type="gemma2",
        class_name="Gemma2ForCausalLM",
        numbers=_NUMBERS
        | {
            "attention.sliding_window": "sliding_window",
            "attn_logit_softcapping": "attn_logit_softcapping",
            "final_logit_softcapping": "final_logit_softcapping",
        },
        modules=_modules(_SANDWICH_NORMS, _LINEAR),
        fixed=_GELU,
        defaults=_THETA
        | {
            "sliding_window": 4096,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        norms_plus_one=True,
    ),
    "gemma3": Architecture(
        model_type="gemma3_text",
        class_name="Gemma3ForCausalLM",
        numbers=_NUMBERS
        | {
            "attention.sliding_window": "sliding_window",
            "final_logit_softcapping": "final_logit_softcapping",
            "rope.freq_base_swa": "rope_local_base_freq",
        },
        modules=_modules(_SANDWICH_NORMS, _QK_NORMS, _LINEAR),
        fixed=_GELU,
        defaults={"rope_theta": 1e6, "rope_local_base_freq": 10000.0},
        norms_plus_one=True,
    ),
    "gpt2": Architecture(
        model_type="gpt2",
        class_name="GPT2LMHeadModel",
        numbers={
            "block_count": "n_layer",
            "context_length": "n_positions",
            "embedding_length": "n_embd",
            "feed_forward_length": "n_inner",
            "attention.head_count": "n_head",
            "attention.layer_norm_epsilon": "layer_norm_epsilon",
        },
        modules={
            "token_embd": "transformer.wte",
            "position_embd": "transformer.wpe",
            "output_norm": "transformer.ln_f",
            "output": "lm_head",
        }
        | {
            f"blk.{{layer}}.{name}": f"transformer.h.{{layer}}.{module}"
            for name, module in _GPT2_BLOCK.items()
        },
        transposed=("c_attn", "c_proj", "c_fc"),
    ),
}
