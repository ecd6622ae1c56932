"""Encoder-decoders: the stacks of T5 and BART, out of the blocks of `decoder.py`.

The encoder reads the sentence. Where its units are asked for, nothing else runs, and
only its parameters are loaded. Where the decoder's are, the encoder runs first, and the
decoder reads the start token and the sentence but for its last token: at each place it
has read what precedes and is about to write the token that stands there, as when such a
model is trained to reproduce its input.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import Inputs, relative_buckets
from expertjax.models.configs import ConfigReader
from expertjax.models.decoder import Attention, Block
from expertjax.models.decoder_config import DecoderConfig
from expertjax.models.decoder_names import Names
from expertjax.models.edits import PLAIN, Probe, Tap
from expertjax.models.family import Output
from expertjax.models.layers import scan_blocks, stack_blocks
from expertjax.models.rotary import NO_ROTATION
from expertjax.models.view import View
from expertjax.typing import Array

ReadWith = Literal["encoder", "decoder"]


@dataclasses.dataclass(frozen=True)
class Seq2SeqConfig:
    """Architecture of one encoder-decoder."""

    encoder: DecoderConfig
    decoder: DecoderConfig
    cross: Names  # of the decoder's layers that attend to the encoder
    read_with: ReadWith  # whose units there are
    start_token: int  # what the decoder reads first

    num_buckets: int = 0  # of distances, biases of attention; 0: none
    max_distance: int = 128  # from here on they are alike
    position_offset: int = 0  # row of a sentence's first token in the table
    embed_norm: bool = False
    last_norm: bool = True
    logits_bias: bool = False

    @property
    def read(self) -> DecoderConfig:
        """The stack whose units there are."""
        return self.encoder if self.read_with == "encoder" else self.decoder

    @property
    def num_layers(self) -> int:
        """L."""
        return self.read.num_layers

    @property
    def width(self) -> int:
        """D."""
        return self.encoder.width

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.encoder.vocab_size

    @property
    def max_positions(self) -> int | None:
        """The longest input whose positions are known."""
        return self.encoder.max_positions

    @property
    def lm_head(self) -> bool:
        """Are there logits?"""
        return self.read_with == "decoder" and self.decoder.lm_head

    def mlp(self, stack: DecoderConfig, rngs: nnx.Rngs, dtype: Any) -> Any:
        """A block's, where it is not that of `decoder.py`."""
        return None


class Memory(NamedTuple):
    """What the encoder made of the sentence."""

    states: Array  # [B, S, D]
    view: View


class CrossBlock(Block):
    """A block that attends to the encoder between attention and MLP."""

    def __init__(
        self,
        config: DecoderConfig,
        cross: Names,
        rngs: nnx.Rngs,
        dtype: Any,
        mlp: nnx.Module | None,
    ) -> None:
        super().__init__(config, rngs, dtype, mlp)
        named = dataclasses.replace(config, names=cross)
        self.cross = Attention(named, rngs, dtype)
        if config.norms == "after":
            self.cross_post_norm = config.norm(config.width)
        else:
            self.cross_pre_norm = config.norm(config.width)

    def __call__(  # type: ignore[override]
        self, x_BxTxD: Array, tap: Tap, layer: Array, view: View, memory: Memory
    ) -> Array:
        """Returns the residual stream after both kinds of attention and MLP."""
        y = self.attention(self.normed("attention", x_BxTxD), tap, view)
        x_BxTxD = self.written("attention", x_BxTxD, y)
        normed = self.normed("cross", x_BxTxD)
        y = self.cross(normed, tap, memory.view, memory.states)
        x_BxTxD = self.written("cross", x_BxTxD, y)
        y = self.mlp(self.normed("mlp", x_BxTxD), tap)
        return tap(":residual", self.written("mlp", x_BxTxD, y))


class Stack(nnx.Module):
    """The encoder, or the decoder, without the embeddings of tokens."""

    def __init__(
        self, config: Seq2SeqConfig, stack: DecoderConfig, rngs: nnx.Rngs, dtype: Any
    ) -> None:
        self.config, self.stack = config, stack
        d, init = stack.width, nnx.initializers.normal(0.02)

        def embed(rows: int, width: int) -> nnx.Embed:
            return nnx.Embed(rows, width, embedding_init=init, dtype=dtype, rngs=rngs)

        if stack.learned_positions is not None:
            self.position = embed(config.position_offset + stack.learned_positions, d)
        if config.embed_norm:
            self.embed_norm = stack.norm(d)
        if config.num_buckets:
            self.distance = embed(config.num_buckets, stack.num_heads)

        def block(rngs: nnx.Rngs) -> nnx.Module:
            mlp = config.mlp(stack, rngs, dtype)
            if stack.causal:
                return CrossBlock(stack, config.cross, rngs, dtype, mlp)
            return Block(stack, rngs, dtype, mlp)

        self.blocks = stack_blocks(block, stack.num_layers, rngs)
        if config.last_norm:
            self.norm = stack.norm(d)

    def __call__(
        self,
        x_BxTxD: Array,
        inputs: Inputs,
        probe: Probe,
        memory: Memory | None = None,
    ) -> Output:
        """Runs all blocks on embedded tokens."""
        if self.stack.learned_positions is not None:
            rows_BxT = inputs.positions + self.config.position_offset
            x_BxTxD = x_BxTxD + self.position(rows_BxT)
        if self.config.embed_norm:
            x_BxTxD = self.embed_norm(x_BxTxD)
        view = View(
            inputs.mask(causal=self.stack.causal),
            self.stack.rotary.at(inputs.positions),
            self._bias(inputs),
        )
        x_BxTxD, pooled, _ = scan_blocks(self.blocks, x_BxTxD, probe, view, memory)
        return Output(self.norm(x_BxTxD) if self.config.last_norm else x_BxTxD, pooled)

    def _bias(self, inputs: Inputs) -> Array | None:
        """[B, H, T, S]: what the keys' distances add to the scores."""
        config = self.config
        if not config.num_buckets:
            return None
        buckets = relative_buckets(
            inputs.key_positions[:, None, :] - inputs.positions[:, :, None],
            config.num_buckets,
            config.max_distance,
            causal=self.stack.causal,
        )
        return jnp.moveaxis(self.distance(buckets), -1, 1)


class Seq2Seq(nnx.Module):
    """An encoder, and a decoder where it is read; see `Family` for the signature."""

    def __init__(
        self, config: Seq2SeqConfig, rngs: nnx.Rngs, dtype: Any = None
    ) -> None:
        self.config = config
        d, v = config.width, config.vocab_size
        init = nnx.initializers.normal(0.02)
        self.embed = nnx.Embed(v, d, embedding_init=init, dtype=dtype, rngs=rngs)
        self.encoder = Stack(config, config.encoder, rngs, dtype)
        if config.read_with == "decoder":
            self.decoder = Stack(config, config.decoder, rngs, dtype)
        if config.lm_head and not config.decoder.tie_embeddings:
            self.lm_head = nnx.Linear(d, v, use_bias=False, dtype=dtype, rngs=rngs)
        if config.lm_head and config.logits_bias:
            self.logits_bias = nnx.Param(jnp.zeros((1, v)))

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """Runs the encoder, and the decoder behind it where that is read."""
        if self.config.read_with == "encoder":
            return self.encoder(self._embed(inputs.tokens), inputs, probe)
        read = self.encoder(self._embed(inputs.tokens), inputs, PLAIN)
        unrotated = NO_ROTATION.at(inputs.positions)
        memory = Memory(read.hidden, View(inputs.mask(causal=False), unrotated))
        tokens = preceding(inputs, self.config.start_token)
        return self.decoder(self._embed(tokens), inputs, probe, memory)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] logits of the token that stands at each place.

        Raises:
          InputError: the encoder is read, or the checkpoint has no output layer.
        """
        if not self.config.lm_head:
            raise InputError("without a decoder and its output layer, no logits")
        decoder = self.config.decoder
        scale = jnp.asarray(decoder.logits_scale, hidden_BxTxD.dtype)
        hidden_BxTxD = hidden_BxTxD * scale
        if decoder.tie_embeddings:
            logits = self.embed.attend(hidden_BxTxD)
        else:
            logits = self.lm_head(hidden_BxTxD)
        return logits + self.logits_bias[...] if self.config.logits_bias else logits

    def _embed(self, tokens_BxT: Array) -> Array:
        scale = self.config.encoder.embedding_scale
        x_BxTxD = self.embed(tokens_BxT)
        return x_BxTxD if scale == 1 else x_BxTxD * jnp.asarray(scale, x_BxTxD.dtype)


def preceding(inputs: Inputs, start_token: int) -> Array:
    """[B, T]: the token before each, the start token before a sentence's first."""
    first_Bx1 = jnp.argmax(inputs.key_valid, axis=1)[:, None]
    before_BxT = jnp.maximum(first_Bx1 + inputs.positions - 1, 0)
    tokens_BxT = jnp.take_along_axis(inputs.tokens, before_BxT, axis=1)
    return jnp.where(inputs.positions == 0, start_token, tokens_BxT)


def read_start(reader: ConfigReader, default: int) -> dict[str, Any]:
    """Whose units there are, and what the decoder reads first.

    Args:
      reader: of the config.
      default: the start token where the config does not say.

    Returns:
      fields of `Seq2SeqConfig`.
    """
    read_with = reader.choose("read_with", "encoder", ("encoder", "decoder"))
    reader.require(
        read_with == "encoder" or any("decoder." in key for key in reader.keys),
        "read_with='decoder', but the checkpoint is of an encoder alone",
    )
    start = reader.token_id("decoder_start_token_id", default, nullable=True)
    return {"read_with": read_with, "start_token": start}
