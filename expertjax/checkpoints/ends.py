"""The tokens after which a text ends."""

from pathlib import Path
from typing import Any

from expertjax.errors import InputError


def end_tokens(path: Path, *named: Any) -> tuple[int, ...]:
    """All tokens that a checkpoint names for the end of a text, ascending.

    Args:
      path: of the checkpoint, for messages.
      named: each a token's number, a list of them, or None; less than 0 is none.

    Raises:
      InputError: one is none of these.
    """
    ends: set[int] = set()
    for value in named:
        numbers = value if isinstance(value, list | tuple) else [value]
        numbers = [number for number in numbers if number is not None]
        if not all(type(number) is int for number in numbers):
            raise InputError(
                f"{path}: eos_token_id={value!r}: expected the number of a token, or a "
                "list of them"
            )
        ends.update(number for number in numbers if number >= 0)
    return tuple(sorted(ends))
