"""The settings of generation, checked once."""

import dataclasses
from typing import Literal

from expertjax.errors import InputError

_LEAST = (("max_new_tokens", 1), ("top_k", 0), ("batch_size", 1), ("room", 0))


@dataclasses.dataclass(frozen=True)
class GenerateSettings:
    """How texts are written; flags have the same names.

    Attributes:
      max_new_tokens: the most tokens that are written after a prompt.
      temperature: divides the logits; 0 takes the likeliest token (greedy).
      top_k: only of so many likeliest tokens; 0 for all.
      top_p: only of the fewest tokens that have this probability together.
      repetition_penalty: of tokens that are there already; 1 for none.
      edit_tokens: are units edited at "all" tokens, or at the "new" ones only?
      batch_size: texts that are written at a time.
      stop_at_end: does a text end where the model says so?
      room: tokens for which there is room after a prompt, at least `max_new_tokens`;
        texts of different lengths that have the same room share a compiled program.
        Of other sizes sums may round otherwise.
    """

    max_new_tokens: int = 20
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.9
    repetition_penalty: float = 1.0
    edit_tokens: Literal["all", "new"] = "all"
    batch_size: int = 64
    stop_at_end: bool = True
    room: int = 0

    def __post_init__(self) -> None:
        """Raises InputError naming the flag that is wrong."""
        for name, least in _LEAST:
            if getattr(self, name) < least:
                raise InputError(
                    f"--{name}={getattr(self, name)}: must be at least {least}"
                )
        if self.temperature < 0:
            raise InputError(f"--temperature={self.temperature}: must be at least 0")
        if not 0 < self.top_p <= 1:
            raise InputError(f"--top_p={self.top_p}: expected more than 0, at most 1")
        if self.repetition_penalty <= 0:
            raise InputError(
                f"--repetition_penalty={self.repetition_penalty}: must be over 0"
            )
        if self.edit_tokens not in ("all", "new"):
            raise InputError(f"--edit_tokens={self.edit_tokens}: expected all or new")
