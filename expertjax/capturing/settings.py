"""The settings of a capture, checked once."""

import dataclasses
from typing import Any, Literal

from expertjax.capturing.pooling import Pooling
from expertjax.checkpoints.load import Model
from expertjax.concepts.tokens import Long, SpecialTokens
from expertjax.errors import InputError
from expertjax.models.forward import PRECISIONS, Precision
from expertjax.stores.arrays import DTYPES


@dataclasses.dataclass(frozen=True)
class CaptureSettings:
    """What is run, and what is kept of it; flags have the same names.

    Attributes:
      seq_len: the most tokens of a sentence.
      num_per_concept: the most positives, and the most negatives, of a concept.
      data_seed: of drawing them.
      pooling: over tokens: "max", "mean" or "last".
      special_tokens: do CLS, SEP and BOS take part in pooling?
      skip_first: so many tokens at the beginning of a sentence, special ones among
        them, take no part in pooling.
      read_with: of encoder-decoders, whose units are run: "encoder", "decoder", or ""
        for the encoder.
      long: are sentences over seq_len dropped or truncated?
      sites: regular expression on torch module names; "" is all of the family's.
      compute_dtype: "float32" or "bfloat16".
      precision: of products of float32 matrices: "float32", or for speed
        "tensorfloat32" or "bfloat16_3x"; see `models.forward.multiplying`.
      store_dtype: "float32", "float16" or "bfloat16"; "" is "bfloat16" where a response
        is one number that was computed in it, which loses nothing, else "float32".
      batch_tokens: about the tokens of one batch, padding included; 0 is what suits
        the devices.
      block_rows: the most sentences of one block of the store.
      compat: "selfcond" pads every sentence to seq_len and pools over the
        padding too, as apple/ml-selfcond does; "" is ours.
    """

    seq_len: int = 128
    num_per_concept: int = 1000
    data_seed: int = 1234
    pooling: Pooling = "max"
    special_tokens: SpecialTokens = "include"
    skip_first: int = 0
    read_with: Literal["", "encoder", "decoder"] = ""
    long: Long = "drop"
    sites: str = ""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    precision: Precision = "float32"
    store_dtype: Literal["", "float32", "float16", "bfloat16"] = ""
    batch_tokens: int = 0
    block_rows: int = 512
    compat: Literal["", "selfcond"] = ""

    def __post_init__(self) -> None:
        """Raises InputError naming the flag that is wrong."""
        choices: dict[str, tuple[Any, ...]] = {
            "pooling": ("max", "mean", "last"),
            "special_tokens": ("include", "exclude"),
            "read_with": ("", "encoder", "decoder"),
            "long": ("drop", "truncate"),
            "compute_dtype": ("float32", "bfloat16"),
            "precision": PRECISIONS,
            "store_dtype": ("", *DTYPES),
            "compat": ("", "selfcond"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"--{name}={getattr(self, name)}: expected one of "
                    f"{', '.join(value for value in allowed if value)}"
                )
        for name, least in (
            ("seq_len", 1),
            ("num_per_concept", 1),
            ("skip_first", 0),
            ("batch_tokens", 0),
            ("block_rows", 1),
        ):
            if getattr(self, name) < least:
                raise InputError(
                    f"--{name}={getattr(self, name)}: must be at least {least}"
                )
        if self.compat:
            self._check_compat()

    @classmethod
    def of(cls, model: Model) -> "CaptureSettings":
        """The default for a model, computing as it was loaded to."""
        return cls(
            compute_dtype=model.dtype,  # type: ignore[arg-type]
            precision=model.precision,
            read_with=model.read_with,  # type: ignore[arg-type]
        )

    def resolve(self, batch_tokens: int) -> "CaptureSettings":
        """The same with what the user left open chosen: `store_dtype`, `batch_tokens`.

        Args:
          batch_tokens: those that suit the devices.
        """
        is_narrow = self.compute_dtype == "bfloat16" and self.pooling != "mean"
        return dataclasses.replace(
            self,
            store_dtype=self.store_dtype or ("bfloat16" if is_narrow else "float32"),
            batch_tokens=self.batch_tokens or batch_tokens,
        )

    def _check_compat(self) -> None:
        """The reference knows one way only; others must not hide under its name."""
        needed = {
            "pooling": "max",
            "special_tokens": "include",
            "skip_first": 0,
            "long": "drop",
            "compute_dtype": "float32",
            "precision": "float32",
            "store_dtype": "float32",
        }
        for name, value in needed.items():
            if getattr(self, name) not in (value, ""):
                raise InputError(
                    f"--compat={self.compat} needs --{name}={value}, "
                    f"not {getattr(self, name)}"
                )
