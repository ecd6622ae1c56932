"""Runs the programs, each in a process of its own, forked where all is imported.

Half of what a short run takes is importing JAX and transformers, which happens once
here. For programs that are stopped, killed or given another environment, see
`tests.programs.start`.
"""

import atexit
import json
import os
import resource
import runpy
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from typing import Any

from tests.data import REPOSITORY

_LENGTH = struct.Struct("!I")


class Server:
    """Starts one process that starts the others, one at a time."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Begins to import.

        Args:
          environment: of the server and of all programs.
        """
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.program_server", str(theirs.fileno())],
                cwd=REPOSITORY,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def run(
        self, program: str, args: Sequence[str], file_limit: int | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Runs one of `binaries` to its end.

        Args:
          program: its name.
          args: of its command line.
          file_limit: the most KiB of a file, as of `ulimit -f`.
        """
        request = json.dumps([program, [str(arg) for arg in args], file_limit])
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with self._lock:
                fds = [out.fileno(), err.fileno()]
                message = request.encode()
                socket.send_fds(self._socket, [_LENGTH.pack(len(message))], fds)
                self._socket.sendall(message)
                (status,) = struct.unpack("!i", _receive(self._socket, 4))
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        command = [f"binaries.{program}", *args]
        return subprocess.CompletedProcess(command, status, *texts)

    def __del__(self) -> None:
        """The other side ends where this one is closed."""
        self._socket.close()
        self._process.wait()


def _receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _serve(connection: socket.socket) -> None:
    """Answers requests until the other side is closed."""
    while True:
        head, fds, _, _ = socket.recv_fds(connection, _LENGTH.size, 2)
        if not head:
            return
        head += _receive(connection, _LENGTH.size - len(head))
        request = json.loads(_receive(connection, _LENGTH.unpack(head)[0]))
        child = os.fork()
        if not child:
            connection.close()
            _become(fds, *request)
        for fd in fds:
            os.close(fd)
        _, status = os.waitpid(child, 0)
        connection.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))


def _become(
    fds: list[int], program: str, args: list[str], file_limit: int | None
) -> None:
    """What Python does with `-m`, to the end of the process."""
    status: Any = 1
    try:
        for fd, name in zip(fds, (1, 2), strict=True):
            os.dup2(fd, name)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if file_limit is not None:
            limit = file_limit * 1024
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        sys.argv = [program, *args]
        try:
            runpy.run_module(f"binaries.{program}", run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as error:
            status = error.code
            if isinstance(status, str):
                print(status, file=sys.stderr)
                status = 1
        except BaseException:
            traceback.print_exc()
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status or 0)


def _import_all() -> None:
    import jax  # noqa: F401
    import transformers  # noqa: F401

    import expertjax as ej

    for name in ej.__all__:
        getattr(ej, name)
    # A thread would be missing in every child.
    assert threading.active_count() == 1


if __name__ == "__main__":
    _import_all()
    with socket.socket(fileno=int(sys.argv[1])) as main_connection:
        _serve(main_connection)
