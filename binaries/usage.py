"""What `--help` shows: a program's own flags in groups, required ones first."""

import re
import sys
import textwrap
from typing import Any

from absl import flags

from binaries.path_flags import is_path

FLAGS = flags.FLAGS
_WIDTH = 80
_INDENT = 28  # where what a flag means begins
# absl's own additions to what a flag means: values, and that it may be repeated.
_ADDED = re.compile(r"^<[^>]*>: |;\s+repeat this option to specify a list of values$")
_headings: list[tuple[str, frozenset[str]]] = []
_called_as: list[str] = []


def heading(title: str) -> None:
    """Flags defined from here on, up to the next heading, are shown under this one."""
    _headings.append((title, frozenset(FLAGS)))


def call_as(command: str) -> None:
    """Sets what the user has typed to run the program that comes, for examples."""
    _called_as[:] = [command]


class HelpFlag(flags.BooleanFlag):
    """`--help` and `-h`; takes the place of absl's."""

    def __init__(self) -> None:
        super().__init__(
            "help", False, "Shows this.", short_name="h", allow_override=True
        )

    def parse(self, argument: Any) -> None:
        """Shows the help of the program that runs, and ends it."""
        if self._parse(argument):
            print(help_text(sys.modules["__main__"].__doc__ or ""))
            sys.exit(0)


def help_text(doc: str) -> str:
    """All flags of the program, in 80 columns.

    Args:
      doc: the docstring of its module: a line, then its commands.
    """
    first, _, commands = textwrap.dedent(doc).partition("\n")
    parts = [first, "", textwrap.indent(_as_called(commands.strip()), "  ")]
    for title, names in _groups().items():
        parts += ["", title, *(line for name in names for line in _lines(name))]
    parts += [
        "",
        "--flagfile=FILE reads flags from a file, a line each. [...] is the default.",
        "--helpfull also shows the flags of absl, such as --verbosity.",
    ]
    return "\n".join(parts)


def missing_text() -> str:
    """Three lines for whoever left out flags that are required; else empty."""
    required = [name for name in _own() if _is_required(name)]
    missing = [f"--{name}" for name in required if FLAGS[name].value is None]
    if not missing:
        return ""
    command = _called_as[0] if _called_as else f"python -m {_module()}"
    usage = " ".join([command, *map(_left, required), "..."])
    return (
        f"error: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing\n"
        f"usage: {usage}\n"
        f"{command} --help shows every flag"
    )


def _own() -> list[str]:
    """The program's flags: not absl's, nor a library's."""
    return [name for _, names in _under_headings() for name in names]


def _under_headings() -> list[tuple[str, list[str]]]:
    own = [
        name
        for name in FLAGS
        if not (FLAGS.find_module_defining_flag(name) or "absl").startswith("absl")
        and not isinstance(FLAGS[name], HelpFlag)
    ]
    ends = [before for _, before in _headings[1:]] + [frozenset(own)]
    return [
        (title, [name for name in own if name in end - before])
        for (title, before), end in zip(_headings, ends, strict=True)
    ]


def _groups() -> dict[str, list[str]]:
    """Heading -> flags, in order; a heading may have been used twice."""
    groups: dict[str, list[str]] = {"Required": []}
    for title, names in _under_headings():
        for name in names:
            group = "Required" if _is_required(name) else title
            groups.setdefault(group, []).append(name)
    return {title: names for title, names in groups.items() if names}


def _is_required(name: str) -> bool:
    # absl keeps that as a validator and nothing else.
    return any("other than None" in check.message for check in FLAGS[name].validators)


def _left(name: str) -> str:
    flag = FLAGS[name]
    return f"--[no]{name}" if flag.boolean else f"--{name}={_value(flag)}"


def _value(flag: Any) -> str:
    """What stands for a value."""
    parser = flag.parser
    if isinstance(parser, flags.EnumParser):
        return "|".join(value for value in parser.enum_values if value)
    if is_path(flag):
        return "PATH"
    if isinstance(parser, flags.IntegerParser):
        return "N"
    if isinstance(parser, flags.FloatParser):
        return "X"
    return "A,B,..." if isinstance(parser, flags.ListParser) else "TEXT"


def _default(flag: Any) -> str:
    """In brackets; empty where the help says what happens without the flag."""
    value = flag.default
    if flag.boolean:
        return f" [{'yes' if value else 'no'}]"
    if value is None or value == "" or value == []:
        return ""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f" [{text}]"


def _lines(name: str) -> list[str]:
    """A flag and what it means, beside it or, where there is no room, below."""
    flag, left = FLAGS[name], f"  {_left(name)}"
    means = textwrap.wrap(
        f"{_ADDED.sub('', flag.help)}{_default(flag)}",
        _WIDTH - _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if len(left) < _INDENT - 1:
        first, *rest = means
        return [f"{left:{_INDENT}}{first}", *(" " * _INDENT + line for line in rest)]
    # Long lists of values go on under the first.
    lines = textwrap.wrap(left.replace("|", "| "), _WIDTH, subsequent_indent=" " * 8)
    lines = [line.replace("| ", "|") for line in lines]
    return ["  " + lines[0].strip(), *lines[1:], *(" " * _INDENT + m for m in means)]


def _module() -> str:
    return sys.modules["__main__"].__spec__.name  # type: ignore[union-attr]


def _as_called(commands: str) -> str:
    if not _called_as:
        return commands
    return commands.replace(f"python -m {_module()}", _called_as[0])
