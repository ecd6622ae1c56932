"""Who is let in, and what is too large; the ASGI guard and the addresses."""

import asyncio
from typing import Any

import pytest

from expertjax.workshop.limits import MOST_BODY
from expertjax.workshop.server import Guard, is_loopback

LOCAL = frozenset({"127.0.0.1", "localhost", "[::1]"})


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.9.9.9", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_which_addresses_others_reach(host: str, local: bool) -> None:
    assert is_loopback(host) == local


def answer(hosts: frozenset[str] = LOCAL, **headers: str) -> dict[str, Any]:
    """Status, headers and body of what the guard lets through or refuses."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = [
        (name.replace("_", "-").encode(), value.encode())
        for name, value in headers.items()
    ]
    scope = {"type": "http", "headers": given}
    guard = Guard(app, hosts, "'none'")
    asyncio.run(guard(scope, None, send))  # type: ignore[arg-type]
    start, body = sent
    return {**dict(start["headers"]), "status": start["status"], "body": body["body"]}


def test_every_answer_forbids_other_hosts() -> None:
    found = answer(host="127.0.0.1:7860")
    assert (found["status"], found["body"]) == (200, b"page")
    policy = found[b"content-security-policy"].decode()
    assert policy.startswith("default-src 'self'") and "http" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ({"host": "evil.example:7860"}, 421, b"not served under this name"),
        ({}, 421, b"not served"),
        (
            {"host": "localhost", "content_length": str(MOST_BODY + 1)},
            413,
            b"20,000,001 bytes; at most 20,000,000 in a request.",
        ),
        ({"host": "localhost", "transfer_encoding": "chunked"}, 413, b"at most"),
        ({"host": "localhost", "content_length": "many"}, 413, b"at most"),
    ],
)
def test_what_is_refused(headers: dict[str, str], status: int, said: bytes) -> None:
    found = answer(**headers)
    assert found["status"] == status and said in found["body"]


def test_behind_a_password_any_name_leads_there() -> None:
    assert answer(frozenset(), host="gpu-7.example:7860")["status"] == 200
    assert answer(host="[::1]:7860")["status"] == 200
