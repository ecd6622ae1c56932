"""What llama.cpp calls things, by architecture, and what Hugging Face calls them.

Sources: the GGUF specification (ggml/docs/gguf.md) for the metadata; llama.cpp's
convert_hf_to_gguf.py for the names of tensors and for what it does to their values,
which is undone here.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from expertjax.checkpoints.gguf_experts import is_of_experts, joined_shape


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One of llama.cpp's architectures.

    Attributes:
      model_type: Hugging Face's.
      class_name: Hugging Face's class, for `architectures` in config.json.
      numbers: metadata key without the architecture -> attribute of config.json.
      modules: GGUF tensor without ".weight" -> torch module, or the parameter.
      parameters: likewise -> torch parameter that is no module's. Where there are
        several of one, they are its parts in that order.
      fixed: attributes that are always so.
      defaults: attributes where the metadata does not say, as in llama.cpp.
      permuted: are rows of q and k in the order that llama.cpp's rotation wants?
      norms_plus_one: has 1 been added to the weights of norms?
      transposed: torch modules that keep [in, out], which GGUF does not.
      rows: torch modules of one output, whose weight is [D] in some files.
      dealt_out: see `gguf_experts`.
      yarn: what the metadata do not say of rotations that are scaled so; None where
        these are not known.
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
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rows: tuple[str, ...] = ()
    dealt_out: bool = False
    yarn: Mapping[str, Any] | None = None

    def is_transposed(self, key: str) -> bool:
        """Does torch keep this tensor the other way round?"""
        return key.removesuffix(".weight").endswith(self.transposed or ("\0",))

    def find(self, name: str) -> tuple[str, int] | None:
        """Hugging Face's name of what a tensor is or belongs to, and which part it is.

        Args:
          name: GGUF's; None if it is not known.
        """
        stem, _, kind = name.rpartition(".")
        for table, endings in (
            (self.modules, {"weight": ".weight", "bias": ".bias"}),
            (self.parameters, {"weight": "", "bias": "_bias"}),
        ):
            for number, (known, theirs) in enumerate(table.items()):
                pattern = re.escape(known).replace(r"\{layer\}", r"(?P<layer>\d+)")
                match = re.fullmatch(pattern, stem)
                if match and kind in endings:
                    part = list(table.values())[:number].count(theirs)
                    return theirs.format(**match.groupdict()) + endings[kind], part
        return None

    def shape(self, key: str, parts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Of a tensor as Hugging Face has it.

        Args:
          key: Hugging Face's name.
          parts: the shapes of what it is made of, in numpy's order.
        """
        if is_of_experts(key):
            return joined_shape(parts, self.dealt_out)
        if len(parts[0]) == 1 and key.removesuffix(".weight").endswith(self.rows):
            return (1, *parts[0])
        return parts[0][:: -1 if self.is_transposed(key) else 1]

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
        if self.is_transposed(key):
            return tensor.T
        return tensor.reshape(self.shape(key, [tensor.shape]))


def unpermute(tensor: np.ndarray, num_heads: int) -> np.ndarray:
    """Rows of each head: pairs of neighbours become pairs that are K / 2 apart.

    llama.cpp rotates neighbours (GPT-J's way) where Hugging Face's Llama rotates the
    two halves of a head; LlamaModel.permute of the converter is its inverse.
    """
    heads = tensor.reshape(num_heads, -1, 2, *tensor.shape[1:])
    return heads.swapaxes(1, 2).reshape(tensor.shape)


NUMBERS = {
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
ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_LINEAR = ATTENTION | {
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
PRE_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_SANDWICH_NORMS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
QK_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}


def in_blocks(*parts: Mapping[str, str]) -> dict[str, str]:
    """Names within a block as names of all blocks'."""
    inner = {name: module for part in parts for name, module in part.items()}
    return {f"blk.{{layer}}.{n}": _LAYER + m for n, m in inner.items()}


def modules_of(*parts: Mapping[str, str]) -> dict[str, str]:
    """All modules of a decoder that calls the others as Llama does."""
    return _TOP | in_blocks(*parts)


_GPT2_BLOCK = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
SILU = {"hidden_act": "silu"}
_GELU = {"hidden_activation": "gelu_pytorch_tanh"}
THETA = {"rope_theta": 10000.0}

ARCHITECTURES = {
    "llama": Architecture(
        model_type="llama",
        class_name="LlamaForCausalLM",
        numbers=NUMBERS,
        modules=modules_of(PRE_NORMS, _LINEAR),
        fixed=SILU,
        defaults=THETA,
        permuted=True,
    ),
    "qwen2": Architecture(
        model_type="qwen2",
        class_name="Qwen2ForCausalLM",
        numbers=NUMBERS,
        modules=modules_of(PRE_NORMS, _LINEAR),
        fixed=SILU | {"use_sliding_window": False},
        defaults=THETA,
    ),
    "qwen3": Architecture(
        model_type="qwen3",
        class_name="Qwen3ForCausalLM",
        numbers=NUMBERS,
        modules=modules_of(PRE_NORMS, _LINEAR, QK_NORMS),
        fixed=SILU | {"use_sliding_window": False},
        defaults=THETA,
    ),
    "gemma2": Architecture(
        model_type="gemma2",
        class_name="Gemma2ForCausalLM",
        numbers=NUMBERS
        | {
            "attention.sliding_window": "sliding_window",
            "attn_logit_softcapping": "attn_logit_softcapping",
            "final_logit_softcapping": "final_logit_softcapping",
        },
        modules=modules_of(_SANDWICH_NORMS, _LINEAR),
        fixed=_GELU,
        defaults=THETA
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
        numbers=NUMBERS
        | {
            "attention.sliding_window": "sliding_window",
            "final_logit_softcapping": "final_logit_softcapping",
            "rope.freq_base_swa": "rope_local_base_freq",
        },
        modules=modules_of(_SANDWICH_NORMS, QK_NORMS, _LINEAR),
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
