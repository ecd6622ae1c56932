"""What most language models of today share, from GPT-J (Wang 2021) and Llama on.

Rotary positions, grouped-query attention, an MLP with or without gates. A family's file
says where its norms stand, which of the options of `DecoderConfig` its configs mean,
and how its tensors are called.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import (
    Inputs,
    alibi_bias,
    attend,
    split_groups,
    split_heads,
)
from expertjax.models.decoder_config import DecoderConfig
from expertjax.models.edits import PLAIN, Probe, Tap
from expertjax.models.experts import RoutedMLP
from expertjax.models.family import Output
from expertjax.models.layers import (
    activation,
    at_layer,
    clip,
    scan_blocks,
    stack_blocks,
)
from expertjax.models.view import View
from expertjax.typing import Array


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
        if config.qkv != "apart":
            self.qkv_proj = _Linear(d, q + 2 * kv, bias, rngs, dtype)
        else:
            self.q_proj = _Linear(d, q, bias, rngs, dtype)
            self.k_proj = _Linear(d, kv, bias, rngs, dtype)
            self.v_proj = _Linear(d, kv, bias, rngs, dtype)
        if config.qk_norm:
            h, g, k = config.num_heads, config.num_kv_heads, config.head_width
            shapes = {
                "all": ((q,), (kv,)),
                "head": ((k,), (k,)),
                "each": ((h, k), (g, k)),
            }
            of_q, of_k = shapes[config.qk_norm]
            self.q_norm, self.k_norm = config.norm(*of_q), config.norm(*of_k)
        if config.sinks:
            self.sinks = nnx.Param(jnp.zeros(config.num_heads))
        self.o_proj = _Linear(q, d, config.out_bias, rngs, dtype)

    def __call__(
        self,
        x_BxTxD: Array,
        tap: Tap,
        view: View,
        source_BxSxD: Array | None = None,
    ) -> Array:
        """[B, T, D]: what attention adds to the residual stream.

        Args:
          x_BxTxD: of which queries are made, and by default keys and values.
          tap: of this layer.
          view: which keys a token sees.
          source_BxSxD: of which keys and values are made, where it is another.
        """
        config = self.config
        q, k, v = self._project(x_BxTxD, tap, source_BxSxD)
        if config.qk_norm == "all":
            q, k = self.q_norm(q), self.k_norm(k)
        if config.qkv_clip is not None:
            limit = config.qkv_clip
            q, k, v = (clip(z, -limit, limit) for z in (q, k, v))
        q = split_heads(q, config.num_heads)
        k, v = (split_heads(z, config.num_kv_heads) for z in (k, v))
        if config.qk_norm in ("head", "each"):
            q, k = self.q_norm(q), self.k_norm(k)
        scale = config.query_scale
        attended = attend(
            tap,
            view.rotary(q),
            view.rotary(k),
            v,
            view.mask,
            scale=config.head_width**-0.5 if scale is None else scale,
            bias=view.bias,
            softcap=config.attention_softcap,
            sinks_H=self.sinks[...] if config.sinks else None,
        )
        attended = tap(f"{config.names.out}:input", attended)
        return tap(config.names.out, self.o_proj(attended))

    def _project(
        self, x_BxTxD: Array, tap: Tap, source: Array | None
    ) -> tuple[Array, ...]:
        names = self.config.names
        if self.config.qkv == "apart":
            source = x_BxTxD if source is None else source
            return (
                tap(names.q, self.q_proj(x_BxTxD)),
                tap(names.k, self.k_proj(source)),
                tap(names.v, self.v_proj(source)),
            )
        qkv = self.qkv_proj(x_BxTxD)
        if self.config.qkv != "kept together":
            qkv = tap(names.qkv, qkv)
        heads, kv_heads = self.config.num_heads, self.config.num_kv_heads
        if self.config.qkv == "by group":
            return split_groups(qkv, heads, kv_heads)
        ends = [end * self.config.head_width for end in (heads, heads + kv_heads)]
        parts = jnp.split(qkv, ends, axis=-1)
        if self.config.qkv == "kept together":
            own = (names.q, names.k, names.v)
            parts = [tap(name, z) for name, z in zip(own, parts, strict=True)]
        return tuple(parts)


class MLP(nnx.Module):
    """down(activation(gate(x)) * up(x)): Shazeer 2020; or down(activation(up(x)))."""

    def __init__(self, config: DecoderConfig, rngs: nnx.Rngs, dtype: Any) -> None:
        self.config = config
        d, f, bias = config.width, config.mlp_width, config.mlp_bias
        if config.fused_gates:
            self.gate_up_proj = _Linear(d, 2 * f, bias, rngs, dtype)
        else:
            if config.gated:
                self.gate_proj = _Linear(d, f, bias, rngs, dtype)
            self.up_proj = _Linear(d, f, bias, rngs, dtype)
        self.down_proj = _Linear(f, d, bias, rngs, dtype)

    def __call__(self, x_BxTxD: Array, tap: Tap) -> Array:
        """[B, T, D]: what the MLP adds to the residual stream."""
        names = self.config.names
        bend = activation(self.config.activation)
        if self.config.fused_gates:
            both = tap(names.gate_up, self.gate_up_proj(x_BxTxD))
            gate, up = jnp.split(both, 2, axis=-1)
            hidden = bend(gate) * up
        elif self.config.gated:
            gate = tap(names.gate, self.gate_proj(x_BxTxD))
            hidden = bend(gate) * tap(names.up, self.up_proj(x_BxTxD))
        else:
            hidden = bend(tap(names.up, self.up_proj(x_BxTxD)))
        hidden = tap(f"{names.down}:input", hidden)
        return tap(names.down, self.down_proj(hidden))


def _mlp(config: DecoderConfig, rngs: nnx.Rngs, dtype: Any) -> nnx.Module:
    experts = config.experts
    if experts is None:
        return MLP(config, rngs, dtype)
    beside = config.shared_expert
    shared = None if beside is None else MLP(beside, rngs, dtype)
    return RoutedMLP(experts, config.width, config.activation, shared, rngs, dtype)


class Block(nnx.Module):
    """Attention and MLP with their norms; see `decoder_config.Norms`."""

    def __init__(
        self,
        config: DecoderConfig,
        rngs: nnx.Rngs,
        dtype: Any,
        mlp: nnx.Module | None = None,
    ) -> None:
        self.config = config
        self.attention = Attention(config, rngs, dtype)
        self.mlp = _mlp(config, rngs, dtype) if mlp is None else mlp
        if config.norms == "parallel":
            self.attention_side_norm = config.norm(config.width)
            self.mlp_side_norm = config.norm(config.width)
        elif config.norms in ("pre", "both", "shared"):
            self.attention_pre_norm = config.norm(config.width)
        if config.norms in ("pre", "both"):
            self.mlp_pre_norm = config.norm(config.width)
        if config.has_post_norms or config.norms == "after":
            self.attention_post_norm = config.norm(config.width)
            self.mlp_post_norm = config.norm(config.width)

    def __call__(
        self, x_BxTxD: Array, tap: Tap, layer: Array, full: View, local: View | None
    ) -> Array:
        """Returns the residual stream after attention and MLP."""
        config, view = self.config, full
        if local is not None:
            view = local.where(at_layer(config.sliding, layer), full)
        if any(config.unrotated):
            view = view.unrotated(at_layer(config.unrotated, layer))
        if config.norms == "parallel":
            y = self.attention(self.attention_side_norm(x_BxTxD), tap, view)
            y += self.mlp(self.mlp_side_norm(x_BxTxD), tap)
            return tap(":residual", x_BxTxD + self._scaled(y))
        if config.norms == "shared":
            normed = self.attention_pre_norm(x_BxTxD)
            y = self.attention(normed, tap, view) + self.mlp(normed, tap)
            return tap(":residual", x_BxTxD + self._scaled(y))
        y = self.attention(self.normed("attention", x_BxTxD), tap, view)
        x_BxTxD = self.written("attention", x_BxTxD, y)
        y = self.mlp(self.normed("mlp", x_BxTxD), tap)
        return tap(":residual", self.written("mlp", x_BxTxD, y))

    def normed(self, part: str, x_BxTxD: Array) -> Array:
        """What a part of the block reads."""
        has_norm = self.config.norms in ("pre", "both")
        return getattr(self, f"{part}_pre_norm")(x_BxTxD) if has_norm else x_BxTxD

    def written(self, part: str, x_BxTxD: Array, y_BxTxD: Array) -> Array:
        """The stream with what a part adds."""
        if self.config.has_post_norms:
            y_BxTxD = getattr(self, f"{part}_post_norm")(y_BxTxD)
        x_BxTxD += self._scaled(y_BxTxD)
        behind = self.config.norms == "after"
        return getattr(self, f"{part}_post_norm")(x_BxTxD) if behind else x_BxTxD

    def _scaled(self, y: Array) -> Array:
        scale = self.config.residual_scale
        return y if scale == 1 else y * jnp.asarray(scale, y.dtype)


class Decoder(nnx.Module):
    """A language model; see `Family` for the common signature."""

    def __init__(
        self, config: DecoderConfig, rngs: nnx.Rngs, dtype: Any = None
    ) -> None:
        self.config = config
        d, v = config.width, config.vocab_size
        init = nnx.initializers.normal(0.02)
        self.embed = nnx.Embed(v, d, embedding_init=init, dtype=dtype, rngs=rngs)
        if (p := config.learned_positions) is not None:
            self.position = nnx.Embed(p, d, embedding_init=init, dtype=dtype, rngs=rngs)
        self.blocks = stack_blocks(
            lambda rngs: Block(config, rngs, dtype), config.num_layers, rngs
        )
        self.norm = config.norm(d)
        if config.lm_head and not config.tie_embeddings:
            self.lm_head = _Linear(d, v, False, rngs, dtype)
        if config.lm_head and config.lm_head_bias:
            self.lm_head_bias = nnx.Param(jnp.zeros(v))

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs all blocks; see `Family`."""
        config = self.config
        x_BxTxD = self.embed(inputs.tokens)
        if config.embedding_scale != 1:
            # Rounded to the computation's dtype first, as in training.
            x_BxTxD *= jnp.asarray(config.embedding_scale, x_BxTxD.dtype)
        if config.learned_positions is not None:
            x_BxTxD += self.position(inputs.positions)
        rotary = config.rotary.at(inputs.positions)
        full = View(inputs.mask(causal=config.causal), rotary)
        if config.alibi:
            bias = alibi_bias(inputs.key_positions, config.num_heads)
            full = dataclasses.replace(full, bias=bias * config.head_width**-0.5)
        local = None
        if any(config.sliding):
            if config.local_rotary is not None:
                rotary = config.local_rotary.at(inputs.positions)
            mask = inputs.mask(causal=config.causal, window=config.window)
            local = View(mask, rotary)
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
        if config.lm_head_bias:
            logits += self.lm_head_bias[...]
        if config.logits_scale != 1:
            logits *= jnp.asarray(config.logits_scale, logits.dtype)
        cap = config.logits_softcap
        return logits if cap is None else cap * jnp.tanh(logits / cap)
