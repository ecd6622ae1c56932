"""The settings of probing, checked once."""

import dataclasses
import math
from typing import Any, Literal

from expertjax.concepts.tokens import SpecialTokens
from expertjax.errors import InputError
from expertjax.models.forward import PRECISIONS, Precision

Representation = Literal["mean", "last", "first"]


@dataclasses.dataclass(frozen=True)
class ProbeSettings:
    """How sentences are represented and probes are fitted; flags have the same names.

    Attributes:
      representation: a sentence's vector: the mean over its tokens of the last hidden
        states, or that of its last or first token.
      special_tokens: do CLS, SEP and BOS count as its tokens?
      seq_len: longer sentences are cut: all models have to see the same sentences.
      num_per_concept: the most sentences of a label of a task.
      data_seed: of drawing them.
      validation: share of a task's sentences on which the regularisation is chosen.
      test: share of them on which the probe is judged.
      split_seed: of dealing them out.
      l2: strengths of regularisation to choose from.
      compute_dtype: "float32" or "bfloat16", of the model; probes are float32.
      precision: of the model's products of float32 matrices, as in `CaptureSettings`.
      batch_tokens: about the tokens of one batch, padding included; 0 is what suits
        the devices.
    """

    representation: Representation = "mean"
    special_tokens: SpecialTokens = "include"
    seq_len: int = 128
    num_per_concept: int = 1000
    data_seed: int = 1234
    validation: float = 0.2
    test: float = 0.2
    split_seed: int = 0
    l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    precision: Precision = "float32"
    batch_tokens: int = 0

    def __post_init__(self) -> None:
        """Raises InputError naming the flag that is wrong."""
        choices: dict[str, tuple[Any, ...]] = {
            "representation": ("mean", "last", "first"),
            "special_tokens": ("include", "exclude"),
            "compute_dtype": ("float32", "bfloat16"),
            "precision": PRECISIONS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"--{name}={getattr(self, name)}: expected one of "
                    f"{', '.join(allowed)}"
                )
        for name, least in (("seq_len", 1), ("num_per_concept", 3)):
            if getattr(self, name) < least:
                raise InputError(
                    f"--{name}={getattr(self, name)}: must be at least {least}"
                )
        if self.batch_tokens < 0:
            raise InputError(f"--batch_tokens={self.batch_tokens}: must be at least 0")
        if self.split_seed < 0:
            raise InputError(f"--split_seed={self.split_seed}: must be at least 0")
        shares = self.validation, self.test
        if not (min(shares) > 0 and sum(shares) < 1):
            raise InputError(
                f"--validation={self.validation} --test={self.test}: expected shares "
                "above 0 that leave something to train on"
            )
        good = all(math.isfinite(l2) and l2 > 0 for l2 in self.l2)
        if not self.l2 or not good or len(set(self.l2)) < len(self.l2):
            raise InputError(
                f"--l2={','.join(map(str, self.l2))}: expected distinct numbers above 0"
            )
