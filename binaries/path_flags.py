"""Flags that are paths: `~` is the home folder, and outputs are tried before the work.

Every path that a program takes is defined here, so that all are understood alike.
"""

from typing import Any, Literal

from absl import flags

from expertjax.errors import InputError
from expertjax.home import expand_home

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # they are those of whoever calls
Output = Literal["folder", "local folder", "file"]  # local: where no bucket will do
_outputs: dict[str, Output] = {}


class _PathParser(flags.ArgumentParser):
    """Takes a path, or an id or source that may be one."""

    def parse(self, argument: str) -> str:
        try:
            return expand_home(argument)
        except InputError as error:
            raise ValueError(str(error)) from error

    def flag_type(self) -> str:
        return "path"


def define_path(
    name: str,
    default: str | None,
    help: str,
    required: bool = False,
    writes: Output | None = None,
) -> None:
    """A flag that is one path.

    Args:
      name: of the flag.
      default: its value where it is not given.
      help: for `--help`.
      required: has it to be given?
      writes: what the program makes there, which is tried before it begins.
    """
    flags.DEFINE(
        _PathParser(),
        name,
        default,
        help,
        serializer=flags.ArgumentSerializer(),
        required=required,
    )
    if writes:
        _outputs[name] = writes


def define_paths(
    name: str, default: list[str] | None, help: str, required: bool = False
) -> None:
    """A flag that may be given several times, each time a path."""
    flags.DEFINE_multi(
        _PathParser(),
        flags.ArgumentSerializer(),
        name,
        default,
        help,
        required=required,
    )


def is_path(flag: Any) -> bool:
    """Was a flag defined here?"""
    return isinstance(flag.parser, _PathParser)


def try_outputs() -> None:
    """Tries every output that was asked for; leaves nothing behind.

    Raises:
      InputError: names the flag whose path cannot be written.
    """
    from expertjax.stores.paths import try_output  # `--help` does without

    for name, kind in _outputs.items():
        path: Any = FLAGS[name].value
        if path:
            try_output(path, f"--{name}", kind)
