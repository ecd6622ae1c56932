"""What every program does around its one library call."""

import contextlib
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

from binaries.path_flags import is_path, try_outputs
from binaries.screen import set_up_screen, speak_utf8
from binaries.usage import HelpFlag, missing_text
from expertjax.errors import InputError, PartnerLost, Stopped
from expertjax.jax_settings import set_up_jax
from expertjax.runtime.compile_cache import mend_unreadable
from expertjax.runtime.stopping import stop_on_signals

# The disk or a path refuses, which is no defect of ours.
_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
}
# What Python makes of bytes that are not in its encoding.
_SURROGATE = re.compile("[\ud800-\udfff]")
_TRY_AGAIN = 75
_INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it


def run_main(
    main: Callable[[Sequence[str]], int | None],
    in_blocks: bool = False,
    goes_on: bool = False,
) -> None:
    """Runs `main` under absl, so that a user's mistake ends in one clear line.

    Args:
      main: the program.
      in_blocks: SIGTERM is to wait for the end of a block; otherwise it ends the
        program at once.
      goes_on: what is finished is kept when the program is interrupted, as it is where
        there are blocks; else it begins again.

    Exit status: what `main` returns, 1 for an InputError or where the disk
    refuses, 2 for bad flags, 75 where SIGTERM came and the job stopped at the end
    of a block (sysexits' "try again later"), 130 after Ctrl-C.
    """

    def guarded(argv: Sequence[str]) -> int | None:
        if not flags.FLAGS["verbosity"].present:
            # JAX says at "info" which accelerators it did not find.
            logging.set_verbosity(logging.WARNING)
        try:
            with _stopping(in_blocks):
                try_outputs()
                return main(argv)
        except Stopped as error:
            print(error, file=sys.stderr)
            return _INTERRUPTED if error.by_user else _TRY_AGAIN
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            if isinstance(error, PartnerLost):
                # The ordinary way out would wait for the one that is gone.
                _leave(1)
        except OSError as error:
            if error.errno not in _DISK:
                raise
            where = f"{error.filename}: " if error.filename else ""
            print(
                f"error: {where}{error.strerror or error}; once this is mended, run "
                "the same command again",
                file=sys.stderr,
            )
        return 1

    speak_utf8()
    set_up_screen()
    set_up_jax()
    mend_unreadable()
    with _quiet_interrupt(in_blocks or goes_on):
        app.run(guarded, flags_parser=_parse_flags)


def _stopping(in_blocks: bool) -> contextlib.AbstractContextManager[None]:
    """How signals are heard."""
    if not in_blocks:
        return contextlib.nullcontext()
    return stop_on_signals(ctrl_c=bool(flags.FLAGS["coordinator"].value))


@contextlib.contextmanager
def _quiet_interrupt(goes_on: bool) -> Iterator[None]:
    """Ctrl-C ends in one line, wherever it comes."""

    def end() -> NoReturn:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        how = "goes on from here" if goes_on else "begins again"
        print(f"\nstopped by Ctrl-C; the same command {how}", file=sys.stderr)
        _leave(_INTERRUPTED)

    def unraisable(what: Any) -> None:
        if what.exc_type is KeyboardInterrupt:  # it came where Python drops it
            end()
        sys.__unraisablehook__(what)

    sys.unraisablehook = unraisable
    try:
        yield
    except KeyboardInterrupt:
        end()


def _leave(status: int) -> NoReturn:
    """Ends the process at once: neither threads nor partners are waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _undecodable() -> str:
    """What is wrong with a flag whose text is none; any bytes may name a path."""
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        text = "".join(flag.value) if isinstance(flag.value, list) else flag.value
        if isinstance(text, str) and not is_path(flag) and _SURROGATE.search(text):
            return f"--{name}={text!r}: expected text in UTF-8"
    return ""


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Exits with status 2 and one line unless every argument is a known flag."""
    flags.DEFINE_flag(HelpFlag())
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        rest, problem = [], str(error)
        if "other than None" in problem:  # absl's words for what is required
            print(missing_text(), file=sys.stderr)
            sys.exit(2)
    else:
        problem = f"unexpected argument {rest[1]!r}" if len(rest) > 1 else ""
        problem = problem or _undecodable()
    if problem:
        print(f"error: {problem}; see --help", file=sys.stderr)
        sys.exit(2)
    return rest
