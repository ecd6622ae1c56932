"""The one error type that a user is meant to read.

Programs catch `InputError`, print its message on one line and exit with
status 1; anything else is a defect and keeps its traceback. `Stopped` is none: the
work is not finished, but nothing is wrong.
"""


class InputError(ValueError):
    """What was given cannot be used.

    The message names the file, concept, sentence or flag, says what was
    expected and what to do about it.
    """


class Stopped(Exception):
    """The job was asked to stop and did, between two blocks.

    Attributes:
      by_user: with Ctrl-C, and not by the machine.
    """

    def __init__(self, message: str, by_user: bool = False) -> None:
        super().__init__(message)
        self.by_user = by_user


def join_problems(title: str, problems: list[str], limit: int = 20) -> str:
    """One message out of many problems, so that a user can mend all at once."""
    shown = problems[:limit]
    if len(problems) > limit:
        shown.append(f"... and {len(problems) - limit} more")
    return title + "".join(f"\n  - {problem}" for problem in shown)


class PartnerLost(InputError):
    """Another process of the job has ended, so that this one cannot go on."""
