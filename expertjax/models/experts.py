"""Mixtures of experts: an MLP of many, of which each token runs a few.

Shazeer et al. 2017; as in Mixtral (Jiang et al. 2024). The experts' weights are one
parameter each for gate and up, side by side, and for down, as transformers 5 has them.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
from flax import nnx

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_names import LLAMA
from expertjax.models.edits import Tap
from expertjax.models.family import Fused, KeyRule, rules_for
from expertjax.models.layers import activation, clip
from expertjax.models.readout import Branch
from expertjax.models.routing import Routing, grouped_dot
from expertjax.typing import Array

_INIT = nnx.initializers.normal(0.02)


@dataclasses.dataclass(frozen=True)
class ClampedGates:
    """gpt-oss's product of gate and up, whose units are neighbours in their layer.

    Attributes:
      alpha: of the gate's sigmoid.
      limit: above which both are cut off, and up below its negative.
    """

    alpha: float
    limit: float

    def __call__(self, both: Array) -> Array:
        """[.., 2 F] -> [.., F]."""
        gate = clip(both[..., ::2], -jnp.inf, self.limit)
        up = clip(both[..., 1::2], -self.limit, self.limit)
        return (up + 1) * gate * nnx.sigmoid(self.alpha * gate)


@dataclasses.dataclass(frozen=True)
class ExpertsConfig:
    """A mixture in place of each block's MLP.

    Attributes:
      number: E.
      active: of them, those that a token runs.
      width: hidden units of each.
      normalise: a token's weights add up to 1.
      module: of the mixture, within the block.
      router: the router's name in it.
      shared_width: of an MLP beside them, which all tokens run, times the sigmoid of
        one number; None if there is none.
      bias: of the router and of the experts' layers.
      clamped: in place of activation(gate) * up.
    """

    number: int
    active: int
    width: int
    normalise: bool
    module: str = "mlp"
    router: str = "gate"
    shared_width: int | None = None
    bias: bool = False
    clamped: ClampedGates | None = None

    @property
    def gate_up(self) -> str:
        """Name of the sites of gate and up."""
        return f"{self.module}.experts.{{expert}}.gate_up_proj"

    @property
    def down(self) -> str:
        """Name of the sites of down."""
        return f"{self.module}.experts.{{expert}}.down_proj"

    @property
    def shared(self) -> str:
        """Module of the shared expert."""
        return f"{self.module}.shared_expert"

    def widths(self, width: int) -> dict[str, int]:
        """Site name -> F, in the order of computation, without the shared expert.

        Args:
          width: D.
        """
        of_each = {
            self.gate_up: 2 * self.width,
            f"{self.down}:input": self.width,
            self.down: width,
        }
        return {f"{self.module}.{self.router}": self.number} | {
            name.format(expert=expert): features
            for name, features in of_each.items()
            for expert in range(self.number)
        }

    def branches(self, scale: float) -> tuple[Branch, ...]:
        """How each expert writes, up to the router's weight, which is positive."""
        return tuple(
            Branch(
                self.down.format(expert=expert),
                "blocks.mlp.experts.down_proj.kernel",
                gates=(self.gate_up.format(expert=expert),),
                scale=scale,
                interleaved=self.clamped is not None,
                expert=expert,
            )
            for expert in range(self.number)
        )


class _Grouped(nnx.Module):
    """A linear layer of each expert."""

    def __init__(
        self,
        experts: ExpertsConfig,
        inputs: int,
        outputs: int,
        rngs: nnx.Rngs,
        dtype: Any,
    ) -> None:
        number = experts.number
        self.kernel = nnx.Param(_INIT(rngs.params(), (number, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros((number, outputs))) if experts.bias else None
        self.dtype = dtype

    def __call__(self, x_RxD: Array, routing: Routing) -> Array:
        """[R, F] of rows that are sorted by expert."""
        dtype = self.dtype or jnp.result_type(x_RxD, self.kernel[...])
        kernel_ExDxF = self.kernel[...].astype(dtype)
        y_RxF = grouped_dot(x_RxD.astype(dtype), kernel_ExDxF, routing.sizes)
        if self.bias is None:
            return y_RxF
        return y_RxF + self.bias[...].astype(dtype)[routing.expert]


class _Experts(nnx.Module):
    """What is called `experts` in transformers: all of their weights."""

    def __init__(
        self, experts: ExpertsConfig, width: int, rngs: nnx.Rngs, dtype: Any
    ) -> None:
        f = experts.width
        self.gate_up_proj = _Grouped(experts, width, 2 * f, rngs, dtype)
        self.down_proj = _Grouped(experts, f, width, rngs, dtype)


class RoutedMLP(nnx.Module):
    """The mixture, and an MLP that all tokens run where there is one beside it."""

    def __init__(
        self,
        experts: ExpertsConfig,
        width: int,
        activation: str,
        shared: nnx.Module | None,
        rngs: nnx.Rngs,
        dtype: Any,
    ) -> None:
        def linear(outputs: int, bias: bool) -> nnx.Linear:
            return nnx.Linear(
                width,
                outputs,
                use_bias=bias,
                kernel_init=_INIT,
                dtype=dtype,
                rngs=rngs,
            )

        self.config, self.activation = experts, activation
        self.router = linear(experts.number, experts.bias)
        self.experts = _Experts(experts, width, rngs, dtype)
        self.shared = shared
        if shared is not None:
            self.shared_gate = linear(1, False)

    def __call__(self, x_BxTxD: Array, tap: Tap) -> Array:
        """[B, T, D]: what the mixture adds to the residual stream."""
        config = self.config
        shared = None if self.shared is None else self.shared(x_BxTxD, tap)
        logits = tap(f"{config.module}.{config.router}", self.router(x_BxTxD))
        routing = Routing.of(logits, config.active, config.normalise)
        x_RxD = routing.spread(x_BxTxD)
        both = self.experts.gate_up_proj(x_RxD, routing)
        hidden = self._product(tap.routed(config.gate_up, both, routing))
        hidden = tap.routed(f"{config.down}:input", hidden, routing)
        y_RxD = self.experts.down_proj(hidden, routing)
        y_BxTxD = routing.combine(tap.routed(config.down, y_RxD, routing))
        if shared is None:
            return y_BxTxD
        gate = tap(f"{config.shared}_gate", self.shared_gate(x_BxTxD))
        return y_BxTxD + nnx.sigmoid(gate) * shared

    def _product(self, both_RxF: Array) -> Array:
        if self.config.clamped is not None:
            return self.config.clamped(both_RxF)
        gate, up = jnp.split(both_RxF, 2, axis=-1)
        return activation(self.activation)(gate) * up


def read_experts(
    reader: ConfigReader, number: str, defaults: tuple[int, int], **options: Any
) -> ExpertsConfig:
    """What the configs of mixtures have in common.

    Args:
      reader: of the config.
      number: name of the attribute that holds E.
      defaults: Hugging Face's E and k.
      **options: fields of `ExpertsConfig`.
    """
    reader.ignore("output_router_logits", "router_aux_loss_coef")
    every = reader.take(number, defaults[0])
    active = reader.take("num_experts_per_tok", defaults[1])
    reader.require(
        active <= every, f"num_experts_per_tok={active} is more than {number}={every}"
    )
    return ExpertsConfig(every, active, **options)


def expert_rules(
    module: str, router: str, *, transpose: bool = True
) -> tuple[KeyRule, ...]:
    """The key table of mixtures, by the names of transformers 5.

    Args:
      module: of the mixture.
      router: its name in it.
      transpose: are the experts' weights [E, out, in]?
    """
    linear = {f"shared_expert.{n}_proj": f"shared.{n}_proj" for n in _PARTS}
    linear |= {router: "router", "shared_expert_gate": "shared_gate"}
    block, ours = f"{LLAMA.blocks}{module}.", "blocks.mlp."
    modules = {name: (ours + path, "linear") for name, path in linear.items()}
    experts = {f"{block}experts.{n}": f"{ours}experts.{n}" for n in _EXPERT}
    return (
        *rules_for(block, modules),
        *(KeyRule(key, f"{path}.kernel", transpose) for key, path in experts.items()),
        *(KeyRule(f"{key}_bias", f"{path}.bias") for key, path in experts.items()),
    )


_PARTS = ("gate", "up", "down")
_EXPERT = ("gate_up_proj", "down_proj")


def fused_experts(module: str, old: str, parts: Iterable[str]) -> tuple[Fused, Fused]:
    """The same weights as checkpoints have them, expert by expert.

    Args:
      module: of the mixture today.
      old: of the mixture in checkpoints.
      parts: names of gate, up and down of an expert.
    """
    each = f"{LLAMA.blocks}{old}.experts.{{expert}}."
    gate, up, down = (f"{each}{part}.weight" for part in parts)
    experts = f"{LLAMA.blocks}{module}.experts."
    return (
        Fused(f"{experts}gate_up_proj", (gate, up)),
        Fused(f"{experts}down_proj", (down,)),
    )
