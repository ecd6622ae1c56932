"""The screen, whatever it is: a terminal of any encoding, a closed pipe, nothing."""

import io
import os
import sys
from typing import IO


def set_up_screen() -> None:
    """Lets no `print`, progress bar or message end a program.

    Standard output replaces what its encoding does not have. Once nobody reads it any
    more (`| head`), the rest is thrown away, and the work goes on to its files.
    """
    sys.stdout = _whatever_happens(sys.stdout, "replace")
    sys.stderr = _whatever_happens(sys.stderr, "backslashreplace")


def speak_utf8() -> None:
    """Begins the program again in Python's UTF-8 mode, unless files are named in UTF-8.

    Arguments, names of files and flagfiles have been read in the locale's encoding
    by then, and may not have survived it. The screen keeps that encoding.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8":
        return
    screen = getattr(sys.stdout, "encoding", None) or "ascii"
    os.environ.setdefault("PYTHONIOENCODING", screen)
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


class _Screen(io.TextIOWrapper):
    """A text stream that writes to nowhere once its pipe is closed."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            return self._give_up(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._give_up("")

    def _give_up(self, text: str) -> int:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # what is still buffered goes there too
        os.close(nowhere)
        return len(text)


def _whatever_happens(stream: IO[str] | None, errors: str) -> IO[str]:
    """A screen in place of a standard stream, which is None where it was closed."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):  # a test's or a notebook's own
        return stream
    stream.flush()
    return _Screen(  # beside the other, which loggers hold
        stream.buffer,
        encoding=stream.encoding,
        errors=errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
