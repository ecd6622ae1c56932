"""Serving the studio to this machine, and to others only behind a password."""

import contextlib
import ipaddress
import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from expertjax.analysis.expertise import Expertise
from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.workshop.limits import MOST_BODY, MOST_FILE, MOST_WAITING
from expertjax.workshop.studio import Studio

PASSWORD = "EXPERTJAX_STUDIO_PASSWORD"
_WELCOME = (
    "Any name, and the password that was set or printed where the studio was begun."
)
# Whatever a page would ask of another host, the browser refuses.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors {ancestors}; form-action 'self'; base-uri 'self'"
)
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class Guard:
    """What every request passes through: a bound on its size, a policy for answers."""

    def __init__(self, app: Any, hosts: frozenset[str], ancestors: str) -> None:
        """Takes the application behind it.

        Args:
          app: ASGI.
          hosts: names under which it may be asked for; empty for any.
          ancestors: pages that may show it in a frame.
        """
        self._app, self._hosts = app, hosts
        self._policy = _POLICY.format(ancestors=ancestors).encode()

    async def __call__(self, scope: Any, receive: _Receive, send: _Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        host = headers.get(b"host", "").rpartition(":")[0] or headers.get(b"host", "")
        if self._hosts and host not in self._hosts:
            # Else a page elsewhere could have its own name lead here.
            await _refuse(send, 421, "The studio is not served under this name.")
            return
        is_sized = headers.get(b"content-length", "0").isdigit()
        length = int(headers.get(b"content-length", "0")) if is_sized else MOST_BODY + 1
        if length > MOST_BODY or b"transfer-encoding" in headers:
            said = f"{length:,} bytes; at most {MOST_BODY:,} in a request."
            await _refuse(send, 413, said)
            return

        async def send_guarded(message: _Message) -> None:
            if message["type"] == "http.response.start":
                more = [
                    (b"content-security-policy", self._policy),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        await self._app(scope, receive, send_guarded)


async def _refuse(send: _Send, status: int, said: str) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": said.encode()})


def is_loopback(host: str) -> bool:
    """Does a host name reach this machine only?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Served:
    """A studio that is being served.

    Attributes:
      studio: what is behind the page.
      url: where it is.
      password: that it asks for; "" for none.
    """

    def __init__(self, studio: Studio, page: Any, url: str, password: str) -> None:
        self.studio, self.url, self.password = studio, url, password
        self._page = page

    def wait(self) -> None:
        """Serves until the process is interrupted."""
        with contextlib.suppress(KeyboardInterrupt):
            self._page.server.thread.join()
        self.close()

    def close(self) -> None:
        """Ends it, and removes what was kept."""
        self._page.close(verbose=False)
        self.studio.close()


def serve(
    studio: Studio,
    host: str = "127.0.0.1",
    port: int | None = 7860,
    password: str = "",
    inline: bool = False,
) -> Served:
    """Serves a studio in the background.

    Nothing is asked of any other host: no analytics, no shared link, no fonts.

    Args:
      studio: what is behind the page.
      host: an address of this machine. Where others reach it, a password is asked for.
      port: None for any that is free.
      password: "" is that of `EXPERTJAX_STUDIO_PASSWORD`, else a new one.
      inline: show it in a notebook?

    Raises:
      InputError: Gradio is not installed, or the port is taken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(studio.place / "files")
    try:
        import gradio  # noqa: F401
        from starlette.middleware import Middleware
    except ImportError as error:
        raise InputError(
            f"the studio needs Gradio: pip install 'expertjax[studio]' ({error})"
        ) from error
    from expertjax.workshop.page import CSS, build_page, theme

    local = is_loopback(host)
    if local:
        password = ""
    else:
        password = password or os.environ.get(PASSWORD, "") or secrets.token_urlsafe(9)
    hosts = (
        frozenset({"localhost", "127.0.0.1", "[::1]", host}) if local else frozenset()
    )
    guard = Middleware(
        Guard,
        hosts=frozenset() if inline else hosts,
        ancestors="*" if inline else "'none'",
    )
    page = build_page(studio).queue(max_size=MOST_WAITING)
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port,
            auth=(lambda _, given: _is_same(given, password)) if password else None,
            auth_message=_WELCOME if password else None,
            share=False,
            inline=inline,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=MOST_FILE,
            state_session_capacity=64,
            footer_links=[],
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            app_kwargs={"middleware": [guard]},
            theme=theme(),
            css_paths=CSS,
        )
    except OSError as error:
        raise InputError(f"--port={port}: cannot be served ({error})") from error
    return Served(studio, page, url, password)


def _is_same(given: str, password: str) -> bool:
    return secrets.compare_digest(given.encode(), password.encode())


def studio(
    model: Model,
    expertise: Expertise | None = None,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    password: str = "",
    memory_bytes: int = 2**29,
) -> Served:
    """Opens the studio: a page to find units, look at them and steer with them.

    In a notebook it is shown below the cell.

    Args:
      model: from `load_model`.
      expertise: a result of this model, whose concepts can be taken and steered.
      host: an address of this machine; where others reach it, a password is asked for.
      port: None for any that is free.
      password: "" is that of `EXPERTJAX_STUDIO_PASSWORD`, else a new one.
      memory_bytes: the most that remembered responses take.

    Returns:
      what is served: its `url`, its `password`, and `close()`.

    Raises:
      InputError: Gradio is not installed, the result is another model's, or the port
        is taken.
    """
    behind = Studio(model, expertise, memory_bytes)
    return serve(behind, host, port, password, inline=_in_notebook())


def _in_notebook() -> bool:
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
