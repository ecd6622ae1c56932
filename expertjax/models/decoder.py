"""What most language models of today share, from Llama (Touvron et al. 2023) on.

RMS norms, rotary positions, grouped-query attention, a gated MLP. A family's file
says where its norms stand, which of the options below its configs mean, and how
its tensors are called.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import Inputs, Rotary, attend, split_heads
from expertjax.models.decoder_config import DecoderConfig
from expertjax.models.edits import PLAIN, Probe, Tap
from expertjax.models.experts import RoutedMLP
from expertjax.models.family import KeyRule, Output, rules_for
from expertjax.models.layers import activation, at_layer, scan_blocks, stack_blocks
from expertjax.models.readout import Branch, Readout
from expertjax.models.sites import Site, sites_of
from expertjax.typing import Array

BLOCK = "model.layers.{layer}."


@dataclasses.dataclass(frozen=True)
class View:
    """Which keys a token sees, and the rotation of queries and keys."""

    mask: Array  # [B, 1, T, S]
    rotary: Rotary

    def where(self, here: Array, other: "View") -> "View":
        """This one where `here`, else the other."""
        cos = jnp.where(here, self.rotary.cos, other.rotary.cos)
        sin = jnp.where(here, self.rotary.sin, other.rotary.sin)
        mask = jnp.where(here, self.mask, other.mask)
        return View(mask, self.rotary._replace(cos=cos, sin=sin))


class _Linear(nnx.Linear):
    """With Llama's initialisation."""

    def __init__(
        self, inputs: int, outputs: int, bias: bool, rngs: nnx.Rngs, dtype: Any
    ) -> None:
        init = nnx.initializers.normal(0.02)
        super().__init__(
            inputs, outputs, use_bias=bias, kernel_init=init, dtype=dtype, rngs=rngs
        )


class Attention(nnx.Module):
    """H query heads share G heads of keys and values."""

    def __init__(self, config: DecoderConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, bias = config.width, config.qkv_bias
        q = config.num_heads * config.head_width
        kv = config.num_kv_heads * config.head_width
        if config.fused:
            self.qkv_proj = _Linear(d, q + 2 * kv, bias, rngs, dtype)
        else:
            self.q_proj = _Linear(d, q, bias, rngs, dtype)
            self.k_proj = _Linear(d, kv, bias, rngs, dtype)
            self.v_proj = _Linear(d, kv, bias, rngs, dtype)
        if config.qk_norm:
            per_head = config.qk_norm == "head"
            self.q_norm = config.norm(config.head_width if per_head else q)
            self.k_norm = config.norm(config.head_width if per_head else kv)
        self.o_proj = _Linear(q, d, config.out_bias, rngs, dtype)

    def __call__(self, x_BxTxD: Array, tap: Tap, view: View) -> Array:
        """[B, T, D]: what attention adds to the residual stream."""
        config = self.config
        q, k, v = self._project(x_BxTxD, tap)
        if config.qk_norm == "all":
            q, k = self.q_norm(q), self.k_norm(k)
        if config.qkv_clip is not None:
            q, k, v = (_clip(z, config.qkv_clip) for z in (q, k, v))
        q = split_heads(q, config.num_heads)
        k, v = (split_heads(z, config.num_kv_heads) for z in (k, v))
        if config.qk_norm == "head":
            q, k = self.q_norm(q), self.k_norm(k)
        scale = config.query_scale
        attended = attend(
            tap,
            view.rotary(q),
            view.rotary(k),
            v,
            view.mask,
            scale=config.head_width**-0.5 if scale is None else scale,
            softcap=config.attention_softcap,
        )
        attended = tap("self_attn.o_proj:input", attended)
        return tap("self_attn.o_proj", self.o_proj(attended))

    def _project(self, x_BxTxD: Array, tap: Tap) -> tuple[Array, ...]:
        if not self.config.fused:
            return (
                tap("self_attn.q_proj", self.q_proj(x_BxTxD)),
                tap("self_attn.k_proj", self.k_proj(x_BxTxD)),
                tap("self_attn.v_proj", self.v_proj(x_BxTxD)),
            )
        qkv = tap("self_attn.qkv_proj", self.qkv_proj(x_BxTxD))
        heads, kv_heads = self.config.num_heads, self.config.num_kv_heads
        ends = [end * self.config.head_width for end in (heads, heads + kv_heads)]
        return tuple(jnp.split(qkv, ends, axis=-1))


def _clip(x: Array, limit: float) -> Array:
    # By comparisons, since a minimum may pass over NaN.
    return jnp.where(x > limit, limit, jnp.where(x < -limit, -limit, x))


class GatedMLP(nnx.Module):
    """down(activation(gate(x)) * up(x)): Shazeer 2020."""

    def __init__(
        self, config: DecoderConfig, rngs: nnx.Rngs, dtype: Any, name: str = "mlp"
    ) -> None:
        self.config, self.name = config, name
        d, f, bias = config.width, config.mlp_width, config.mlp_bias
        if config.fused:
            self.gate_up_proj = _Linear(d, 2 * f, bias, rngs, dtype)
        else:
            self.gate_proj = _Linear(d, f, bias, rngs, dtype)
            self.up_proj = _Linear(d, f, bias, rngs, dtype)
        self.down_proj = _Linear(f, d, bias, rngs, dtype)

    def __call__(self, x_BxTxD: Array, tap: Tap) -> Array:
        """[B, T, D]: what the MLP adds to the residual stream."""
        name = self.name
        if self.config.fused:
            both = tap(f"{name}.gate_up_proj", self.gate_up_proj(x_BxTxD))
            gate, up = jnp.split(both, 2, axis=-1)
        else:
            gate = tap(f"{name}.gate_proj", self.gate_proj(x_BxTxD))
            up = tap(f"{name}.up_proj", self.up_proj(x_BxTxD))
        hidden = activation(self.config.activation)(gate) * up
        hidden = tap(f"{name}.down_proj:input", hidden)
        return tap(f"{name}.down_proj", self.down_proj(hidden))


def _mlp(config: DecoderConfig, rngs: nnx.Rngs, dtype: Any) -> nnx.Module:
    experts = config.experts
    if experts is None:
        return GatedMLP(config, rngs, dtype)
    shared = None
    if experts.shared_width is not None:
        alone = dataclasses.replace(config, mlp_width=experts.shared_width)
        shared = GatedMLP(alone, rngs, dtype, experts.shared)
    return RoutedMLP(experts, config.width, config.activation, shared, rngs, dtype)


class Block(nnx.Module):
    """Attention and MLP, with norms before them, behind them, or both."""

    def __init__(self, config: DecoderConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        self.attention = Attention(config, rngs, dtype)
        self.mlp = _mlp(config, rngs, dtype)
        if config.norms != "post":
            self.attention_pre_norm = config.norm(config.width)
            self.mlp_pre_norm = config.norm(config.width)
        if config.norms != "pre":
            self.attention_post_norm = config.norm(config.width)
            self.mlp_post_norm = config.norm(config.width)

    def __call__(
        self, x_BxTxD: Array, tap: Tap, layer: Array, full: View, local: View | None
    ) -> Array:
        """Returns the residual stream after attention and MLP."""
        config, view = self.config, full
        if local is not None:
            view = local.where(at_layer(config.sliding, layer), full)
        y = x_BxTxD if config.norms == "post" else self.attention_pre_norm(x_BxTxD)
        y = self.attention(y, tap, view)
        x_BxTxD += self._added(
            y if config.norms == "pre" else self.attention_post_norm(y)
        )
        y = x_BxTxD if config.norms == "post" else self.mlp_pre_norm(x_BxTxD)
        y = self.mlp(y, tap)
        x_BxTxD += self._added(y if config.norms == "pre" else self.mlp_post_norm(y))
        return tap(":residual", x_BxTxD)

    def _added(self, y: Array) -> Array:
        scale = self.config.residual_scale
        return y if scale == 1 else y * jnp.asarray(scale, y.dtype)


class Decoder(nnx.Module):
    """A causal language model; see `Family` for the common signature."""

    def __init__(
        self, config: DecoderConfig, rngs: nnx.Rngs, dtype: Any = None
    ) -> None:
        self.config = config
        d, v = config.width, config.vocab_size
        init = nnx.initializers.normal(0.02)
        self.embed = nnx.Embed(v, d, embedding_init=init, dtype=dtype, rngs=rngs)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        self.norm = config.norm(d)
        if config.lm_head and not config.tie_embeddings:
            self.lm_head = _Linear(d, v, False, rngs, dtype)

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks; see `Family`."""
        config = self.config
        x_BxTxD = self.embed(inputs.tokens)
        if config.scale_embeddings:
            # Rounded to the computation's dtype first, as in training.
            x_BxTxD *= jnp.asarray(config.width**0.5, x_BxTxD.dtype)
        if config.embedding_scale != 1:
            x_BxTxD *= jnp.asarray(config.embedding_scale, x_BxTxD.dtype)
        rotary = config.rotary.at(inputs.positions)
        full = View(inputs.mask(causal=True), rotary)
        local = None
        if any(config.sliding):
            if config.local_rotary is not None:
                rotary = config.local_rotary.at(inputs.positions)
            local = View(inputs.mask(causal=True, window=config.window), rotary)
            if all(config.sliding):
                full, local = local, None
        x_BxTxD, pooled, cache = scan_blocks(self.blocks, x_BxTxD, probe, full, local)
        return Output(self.norm(x_BxTxD), pooled, cache)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] next-token logits.

        Raises:
          InputError: the checkpoint was saved without the output layer.
        """
        config = self.config
        if not config.lm_head:
            raise InputError("this checkpoint has no language model head (lm_head)")
        if config.tie_embeddings:
            logits = self.embed.attend(hidden_BxTxD)
        else:
            logits = self.lm_head(hidden_BxTxD)
        if config.logits_scale != 1:
            logits *= jnp.asarray(config.logits_scale, logits.dtype)
        cap = config.logits_softcap
        return logits if cap is None else cap * jnp.tanh(logits / cap)


def decoder_sites(config: DecoderConfig) -> tuple[Site, ...]:
    """The sites of one block."""
    d = config.width
    q, kv = (n * config.head_width for n in (config.num_heads, config.num_kv_heads))
    if config.fused:
        first = {"self_attn.qkv_proj": q + 2 * kv}
    else:
        first = {"q_proj": q, "k_proj": kv, "v_proj": kv}
        first = {f"self_attn.{name}": width for name, width in first.items()}
    out = {"self_attn.o_proj:input": q, "self_attn.o_proj": d}
    experts = config.experts
    if experts is None:
        mlp = _mlp_widths(config, "mlp", config.mlp_width)
    else:
        mlp = experts.widths(d)
        if experts.shared_width is not None:
            shared = _mlp_widths(config, experts.shared, experts.shared_width)
            mlp = shared | mlp | {f"{experts.shared}_gate": 1}
    return sites_of(BLOCK, first | out | mlp | {":residual": d})


def _mlp_widths(config: DecoderConfig, name: str, f: int) -> dict[str, int]:
    gates = {"gate_up_proj": 2 * f} if config.fused else {"gate_proj": f, "up_proj": f}
    widths = gates | {"down_proj:input": f, "down_proj": config.width}
    return {f"{name}.{layer}": features for layer, features in widths.items()}


def decoder_readout(config: DecoderConfig) -> Readout:
    """How units reach the logits directly, up to the bend of a soft-cap."""
    is_normed, scale = config.norms != "pre", config.residual_scale
    attention = Branch(
        "self_attn.o_proj",
        "blocks.attention.o_proj.kernel",
        norms=("blocks.attention_post_norm",) if is_normed else (),
        scale=scale,
    )
    gates = ("gate_up_proj",) if config.fused else ("gate_proj", "up_proj")

    def mlp(name: str, path: str) -> Branch:
        return Branch(
            f"{name}.down_proj",
            f"{path}.down_proj.kernel",
            gates=tuple(f"{name}.{gate}" for gate in gates),
            norms=("blocks.mlp_post_norm",) if is_normed else (),
            scale=scale,
        )

    experts = config.experts
    if experts is None:
        branches: tuple[Branch, ...] = (mlp("mlp", "blocks.mlp"),)
    else:
        branches = experts.branches(scale)
        if experts.shared_width is not None:
            branches += (mlp(experts.shared, "blocks.mlp.shared"),)
    return Readout(
        branches=(attention, *branches),
        unembedding="embed.embedding" if config.tie_embeddings else "lm_head.kernel",
        last=("norm",),
        centred=False,
        plus_one=config.norm_plus_one,
        scale=config.logits_scale,
    )


def decoder_rules(norms: Mapping[str, str]) -> tuple[KeyRule, ...]:
    """The key table.

    Args:
      norms: Hugging Face's name of each of the block's norms -> ours.
    """
    attention = ("qkv_proj", "q_proj", "k_proj", "v_proj", "o_proj")
    linear = {f"self_attn.{n}": (f"blocks.attention.{n}", "linear") for n in attention}
    mlp = ("gate_up_proj", "gate_proj", "up_proj", "down_proj")
    linear |= {f"mlp.{n}": (f"blocks.mlp.{n}", "linear") for n in mlp}
    heads = ("q_norm", "k_norm")
    scales = {f"self_attn.{n}": (f"blocks.attention.{n}", "norm") for n in heads}
    scales |= {name: (f"blocks.{ours}", "norm") for name, ours in norms.items()}
    return (
        KeyRule("model.embed_tokens.weight", "embed.embedding"),
        *rules_for(BLOCK, linear | scales),
        KeyRule("model.norm.weight", "norm.scale"),
        KeyRule(
            "lm_head.weight",
            "lm_head.kernel",
            transpose=True,
            optional=True,
            equals="embed.embedding",
        ),
    )


# Constants that old checkpoints carry along.
IGNORED = (BLOCK + "self_attn.rotary_emb.inv_freq",)
