"""What every program does around its one library call."""

import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from expertjax.errors import InputError


def run_main(main: Callable[[Sequence[str]], int | None]) -> None:
    """Runs `main` under absl, so that a user's mistake ends in one clear line.

    Exit status: what `main` returns, 1 for an InputError, 2 for bad flags.
    """

    def guarded(argv: Sequence[str]) -> int | None:
        if len(argv) > 1:
            print(
                f"error: unexpected argument {argv[1]!r}; see --help", file=sys.stderr
            )
            return 2
        if not flags.FLAGS["verbosity"].present:
            # JAX says at "info" which accelerators it did not find.
            logging.set_verbosity(logging.WARNING)
        try:
            return main(argv)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    app.run(guarded)
