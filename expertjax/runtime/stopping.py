"""Stopping at the end of a block when the machine is about to be taken away."""

import contextlib
import signal
from collections.abc import Iterator

from expertjax.errors import Stopped

_asked = 0  # the signal's number


@contextlib.contextmanager
def stop_on_signals(ctrl_c: bool = False) -> Iterator[None]:
    """While this lasts, SIGTERM is heard by `check` only.

    Preemptible machines send it some time before they end. To be entered in the main
    thread.

    Args:
      ctrl_c: is that heard likewise, the first time? In a job of several processes,
        which had better stop together; one alone may end at once, at any moment.
    """
    global _asked
    _asked = 0

    def ask(number: int, frame: object) -> None:
        global _asked
        if number == signal.SIGINT == _asked:
            raise KeyboardInterrupt
        _asked = number

    heard = [signal.SIGTERM, *([signal.SIGINT] if ctrl_c else [])]
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """To be called where all work so far is safe, by all processes together.

    Raises:
      Stopped: a signal has arrived, here or at another process.
    """
    import numpy as np  # which --help does without, and without JAX

    from expertjax.runtime import processes

    number = int(processes.largest(np.array(_asked, np.int32)))
    if number:
        name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        raise Stopped(
            f"stopped by {name}; the same command goes on from here", name == "Ctrl-C"
        )


def check_alone() -> None:
    """`check`, where there is one process; else they could not ask together."""
    from expertjax.runtime import processes

    if processes.is_alone():
        check()
