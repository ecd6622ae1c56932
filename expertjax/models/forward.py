"""Running a model's module: the one place that says how exactly it multiplies.

Accelerators multiply float32 matrices in fewer bits unless they are told otherwise
(NVIDIA's keep 10 of 23 bits of the fraction, TPUs 7), and responses would depend on
the device. So every product of a forward pass asks for its precision by name.
"""

import dataclasses
from typing import Any, Literal, get_args

import jax
from flax import nnx

from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from expertjax.models.edits import PLAIN, Probe
from expertjax.models.family import Output
from expertjax.typing import Array

Precision = Literal["float32", "tensorfloat32", "bfloat16_3x"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# JAX's names. The algorithm of three bfloat16 products has a name of its own, since
# "high" means it on TPUs only.
_JAX_NAMES = {
    "float32": "highest",
    "tensorfloat32": "high",
    "bfloat16_3x": "BF16_BF16_F32_X3",
}


def multiplying(precision: Precision) -> Any:
    """A context in which products of float32 matrices are of some precision.

    For the body of a jitted function: what is traced in it keeps the precision,
    whichever thread or context calls it later.

    Args:
      precision: "float32" (exact to float32 on every device), "tensorfloat32" (one
        product of operands rounded to 10 bits where the hardware has that; TPUs take
        three bfloat16 products), or "bfloat16_3x" (three bfloat16 products). Where
        hardware has none of these, float32.
    """
    return jax.default_matmul_precision(_JAX_NAMES[precision])


def check_precision(precision: str) -> None:
    """Raises InputError unless it is one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise InputError(
            f"--precision={precision}: expected one of {', '.join(PRECISIONS)}"
        )


@dataclasses.dataclass(frozen=True)
class Forward:
    """A module without its parameters; hashable, for jitted functions.

    Attributes:
      graphdef: static half of the module (`nnx.split`).
      precision: of its products of float32 matrices; see `multiplying`.
    """

    graphdef: nnx.GraphDef
    precision: Precision = "float32"

    def bind(self, params: Any) -> "Bound":
        """The module with its parameters (`nnx.State`), inside a traced function."""
        return Bound(nnx.merge(self.graphdef, params), self.precision)


class Bound:
    """What `Family.build` makes, multiplying as is wanted."""

    def __init__(self, module: Any, precision: Precision) -> None:
        self._module, self._precision = module, precision

    def __call__(self, inputs: Inputs, probe: Probe = PLAIN) -> Output:
        """A forward pass; see `models.family.Family`."""
        with multiplying(self._precision):
            return self._module(inputs, probe)

    def logits(self, hidden_BxTxD: Array) -> Array:
        """[B, T, V] logits of the next token (or of this one, if it is masked)."""
        with multiplying(self._precision):
            return self._module.logits(hidden_BxTxD)
