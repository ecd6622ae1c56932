"""What every program does around its one library call."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from expertjax.errors import InputError, PartnerLost, Stopped
from expertjax.runtime.stopping import stop_on_sigterm

# The disk or a path refuses, which is no defect of ours.
_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
}
_TRY_AGAIN = 75


def run_main(
    main: Callable[[Sequence[str]], int | None], in_blocks: bool = False
) -> None:
    """Runs `main` under absl, so that a user's mistake ends in one clear line.

    Args:
      main: the program.
      in_blocks: SIGTERM is to wait for the end of a block; otherwise it ends the
        program at once.

    Exit status: what `main` returns, 1 for an InputError or where the disk
    refuses, 2 for bad flags, 75 where SIGTERM came and the job stopped at the end
    of a block (sysexits' "try again later").
    """

    def guarded(argv: Sequence[str]) -> int | None:
        if not flags.FLAGS["verbosity"].present:
            # JAX says at "info" which accelerators it did not find.
            logging.set_verbosity(logging.WARNING)
        try:
            with stop_on_sigterm() if in_blocks else contextlib.nullcontext():
                return main(argv)
        except Stopped as error:
            print(error, file=sys.stderr)
            return _TRY_AGAIN
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            if isinstance(error, PartnerLost):
                # The ordinary way out would wait for the one that is gone.
                sys.stderr.flush()
                os._exit(1)
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

    app.run(guarded, flags_parser=_parse_flags)


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Exits with status 2 and one line unless every argument is a known flag."""
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        rest, problem = [], str(error)
    else:
        problem = f"unexpected argument {rest[1]!r}" if len(rest) > 1 else ""
    if problem:
        print(f"error: {problem}; see --help", file=sys.stderr)
        sys.exit(2)
    return rest
