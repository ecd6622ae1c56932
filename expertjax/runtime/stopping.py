"""Stopping at the end of a block when the machine is about to be taken away."""

import contextlib
import signal
from collections.abc import Iterator

from expertjax.errors import Stopped

_asked = False


@contextlib.contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """While this lasts, SIGTERM is heard by `check` only.

    Preemptible machines send it some time before they end. To be entered in the main
    thread.
    """
    global _asked
    _asked = False

    def ask(number: int, frame: object) -> None:
        global _asked
        _asked = True

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def check() -> None:
    """To be called where all work so far is safe, by all processes together.

    Raises:
      Stopped: SIGTERM has arrived, here or at another process.
    """
    from expertjax.runtime import processes  # brings JAX, which --help does without

    if processes.any_of(_asked):
        raise Stopped("stopped by SIGTERM; the same command goes on from here")


def check_alone() -> None:
    """`check`, where there is one process; else they could not ask together."""
    from expertjax.runtime import processes

    if processes.is_alone():
        check()
