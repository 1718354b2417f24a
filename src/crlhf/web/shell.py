"""What surrounds every request: the body is read up to a cap, writes come from the page itself, headers are strict.

ASGI middleware, so that it holds for every route, and for requests that reach none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_BODY = 64 * 1024
"""Bytes, counted as they are read."""

READ_TIMEOUT_S = 15.0
_SAFE = {"GET", "HEAD", "OPTIONS"}
_FORM = b"application/x-www-form-urlencoded"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: dict[str, str] = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""On every response. `referrer-policy` is not stricter, because browsers would then send `Origin: null`."""


class Shell:
    """The page's own ASGI middleware.

    Args:
        app: what it surrounds.
        public_url: the address that people use, when a proxy stands before the page; else the Host header is trusted.
    """

    def __init__(self, app: App, public_url: str | None = None) -> None:
        self.app = app
        self.public_url = public_url

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = self._with_headers(send)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["method"] in _SAFE:
            await self.app(scope, receive, send)
            return
        if not self._is_own_origin(headers):
            await _refuse(send, 403, "This request did not come from this page.")
            return
        body = await _read(receive, headers)
        if isinstance(body, int):
            await _refuse(send, body, "The request is too large." if body == 413 else "The request came too slowly.")
        elif body and headers.get(b"content-type", b"").split(b";")[0].strip().lower() != _FORM:
            await _refuse(send, 415, "This page reads forms only.")
        else:
            await self.app(scope, _replay(body, receive), send)

    def _is_own_origin(self, headers: dict[bytes, bytes]) -> bool:
        """The browser says that the request comes from this page; one that says nothing is refused."""
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin:
            return headers.get(b"sec-fetch-site") == b"same-origin"
        if self.public_url is not None:
            return origin == origin_of(self.public_url)
        return urlsplit(origin).netloc == headers.get(b"host", b"").decode("latin-1") != ""

    def _with_headers(self, send: Send) -> Send:
        strict = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        if (self.public_url or "").startswith("https:"):
            strict.append((b"strict-transport-security", b"max-age=31536000"))

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", []))
                if not any(name == b"cache-control" for name, _ in own):
                    own.append((b"cache-control", b"no-store"))
                message = {**message, "headers": own + strict}
            await send(message)

        return send_strictly


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, as a browser sends them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


async def _read(receive: Receive, headers: dict[bytes, bytes]) -> bytes | int:
    """The whole body, or the status of the refusal: 413 beyond the cap, 408 too slow."""
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY:
        return 413
    parts: list[bytes] = []
    n = 0
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return 408
                parts.append(message.get("body", b""))
                n += len(parts[-1])
                if n > MAX_BODY:
                    return 413
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        return 408


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = f"<!doctype html><html lang=en><title>{status}</title><p>{sentence}</p></html>".encode()
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
