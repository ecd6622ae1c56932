"""What one model family has to say about itself."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flax import nnx

from expertjax.models.configs import ConfigReader
from expertjax.models.edits import Cache
from expertjax.models.readout import Readout
from expertjax.models.sites import Site
from expertjax.typing import Array


class Output(NamedTuple):
    """What a forward pass returns.

    Attributes:
      hidden: [B, T, D], input of the model's `logits`.
      pooled: site name -> [L, B, F], for the sites that were recorded.
      cache: keys and values of all layers, where the probe brought a cache.
    """

    hidden: Array
    pooled: Mapping[str, Array]
    cache: Cache | None = None


@dataclasses.dataclass(frozen=True)
class KeyRule:
    """Where one kind of Hugging Face tensor goes.

    Attributes:
      key: the tensor's name, with `{layer}` where the number of the block stands.
      path: dotted path of the parameter in our module; stacked over layers where
        the key has `{layer}`.
      transpose: torch's Linear keeps [out, in], ours [in, out].
      optional: the tensor is passed over where our module has no such
        parameter (a tied output layer that was saved all the same).
      equals: path of the parameter that the passed over tensor should equal;
        where it does not, the config is wrong about tying. Where only one of the
        two was saved, it fills the other.
      lacking: layers without this tensor, whose blocks do without the parameter.
    """

    key: str
    path: str
    transpose: bool = False
    optional: bool = False
    equals: str = ""
    lacking: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Fused:
    """A tensor that checkpoints may hold in parts, a part or several per expert.

    Attributes:
      key: of the whole tensor, [E, out, in], with `{layer}`.
      parts: keys of [out, in] tensors with `{layer}` and `{expert}`, whose outputs
        stand side by side.
    """

    key: str
    parts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Family:
    """One file of this room each: config, module, key table, sites.

    `build(config, rngs=, dtype=)` makes a module that is called as
    `model(Inputs.of(tokens_BxT, mask_BxT), Probe(...)) -> Output` and has
    `model.logits(hidden_BxTxD) -> [B, T, V]`.

    Attributes:
      name: family name.
      model_types: Hugging Face `model_type` values it serves.
      causal: a language model that can generate from left to right.
      read_config: config.json -> frozen config.
      build: config -> module.
      sites: config -> the sites of one block, in the order of computation.
      rules: the key table.
      prefix: of the base model; checkpoints saved without a head lack it.
      task_prefix: what the classes of some tasks have in its place.
      readout: config -> how units reach the logits directly; of causal families, and
        asked of configs with an output layer only.
      ignored: keys of tensors that our module has no use for.
      fused: tensors that checkpoints may hold in parts.
      renamed: (ending of a key in old checkpoints, ending of today).
      encoder_decoder: a decoder reads what an encoder made; configs may have
        `read_with` (see `seq2seq.py`).
      copies_alike: padding that copies a token, at its position, computes what the
        token does (see `Inputs.repeating`). Not so where a token's place is its index
        in the row, or where the model sets padding to zero.
    """

    name: str
    model_types: tuple[str, ...]
    causal: bool
    read_config: Callable[[ConfigReader], Any]
    build: Callable[..., nnx.Module]
    sites: Callable[[Any], tuple[Site, ...]]
    rules: tuple[KeyRule, ...]
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    fused: tuple[Fused, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    encoder_decoder: bool = False
    copies_alike: bool = True
    task_prefix: str = ""
    readout: Callable[[Any], Readout] | None = None


_TENSORS = {
    "norm": (("weight", "scale", False), ("bias", "bias", False)),
    "linear": (("weight", "kernel", True), ("bias", "bias", False)),
    "conv1d": (("weight", "kernel", False), ("bias", "bias", False)),
}


def rules_for(
    prefix: str, modules: Mapping[str, tuple[str, str]]
) -> tuple[KeyRule, ...]:
    """The rules of whole torch modules.

    Args:
      prefix: stands before each torch module name.
      modules: torch module name -> (our path, "norm" | "linear" | "conv1d").
    """
    return tuple(
        KeyRule(f"{prefix}{module}.{tensor}", f"{path}.{ours}", transpose)
        for module, (path, kind) in modules.items()
        for tensor, ours, transpose in _TENSORS[kind]
    )
