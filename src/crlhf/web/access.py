"""Who may ask for what. Every route declares its access here, and declaring is what enforces it.

`Routes.add` is the only way to a route: it puts the guard of the declared access before the endpoint. `undeclared`
finds routes that came another way; the page does not start with one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from ipaddress import AddressValueError, IPv6Address
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from crlhf.web import people
from crlhf.web.page import Page
from crlhf.web.refusals import RefusedError

Endpoint = Callable[..., Any]
Responses = dict[int | str, dict[str, Any]]
Found = TypeVar("Found")


class Access(StrEnum):
    """Who may use a route."""

    PUBLIC = "public"
    ANNOTATOR = "annotator"
    OPERATOR = "operator"


def page_of(request: Request) -> Page:
    """The running page."""
    page: Page = request.app.state.page
    return page


def client_of(request: Request) -> str:
    """The address that a request came from; of IPv6 the /64 that one machine can choose from.

    Behind a proxy uvicorn takes it from X-Forwarded-For.
    """
    host = request.client.host if request.client else "unknown"
    if ":" not in host:
        return host[:64]
    try:
        address = IPv6Address(host.partition("%")[0])
    except AddressValueError:
        return host[:64]
    return str(address.ipv4_mapped or address.exploded[:19])


async def _page(request: Request) -> Page:
    return page_of(request)


async def _me(request: Request) -> Mapping[str, Any]:
    found: Mapping[str, Any] = request.state.annotator  # put there by the guard
    return found


async def _operator(request: Request) -> str:
    name: str = request.state.operator  # put there by the guard
    return name


PageHere = Annotated[Page, Depends(_page)]
Me = Annotated[Mapping[str, Any], Depends(_me)]
Operator = Annotated[str, Depends(_operator)]


def _limit(page: Page, kind: str, who: str) -> None:
    wait = page.limits.take(kind, who, page.clock())
    if wait:
        raise RefusedError(429, "Too many requests. Wait a moment and try again.", retry_after=wait)


def _guard_public(kind: str) -> Endpoint:
    async def guard(request: Request) -> None:
        _limit(page_of(request), kind, client_of(request))

    return guard


async def _whose(page: Page, look: Callable[[Connection, str, float], Found], token: str) -> Found:
    """Whom a session belongs to. SQLite answers sooner than another thread would begin, and waits for nobody."""

    def ask() -> Found:
        with page.database.read() as connection:
            return look(connection, token, page.clock())

    return ask() if page.database.is_sqlite else await run_in_threadpool(ask)


async def guard_annotator(request: Request) -> None:
    """Let annotators in whose session is good."""
    page = page_of(request)
    token = request.cookies.get(page.cookie("annotator"), "")
    if token:
        found = await _whose(page, people.annotator_of, token)
        if found is not None:
            _limit(page, "annotator", found["annotator_id"])
            request.state.annotator = found
            return
    _limit(page, "refused", client_of(request))
    raise RefusedError(401, "You need an invitation for this page. Open the link that you were sent.")


async def guard_operator(request: Request) -> None:
    """Let operators in whose session is good."""
    page = page_of(request)
    token = request.cookies.get(page.cookie("operator"), "")
    if token:
        name = await _whose(page, people.operator_of, token)
        if name is not None:
            _limit(page, "operator", name)
            request.state.operator = name
            return
    _limit(page, "refused", client_of(request))
    raise RefusedError(401, "This page is the operator's. Sign in first.", sign_in=True)


_STATUSES = (400, 401, 403, 404, 408, 409, 413, 415, 422, 429)
_REFUSALS: Responses = {
    status: {"description": "refused, with a sentence", "content": {"text/html": {"schema": {"type": "string"}}}}
    for status in _STATUSES
}


class Routes(APIRouter):
    """A router on which every route declares its access."""

    def add(
        self, method: str, path: str, access: Access, *, limit: str = "public", redirects: bool = False, **more: Any
    ) -> Callable[[Endpoint], Endpoint]:
        """A decorator that adds a route behind the guard of `access`.

        Args:
            method: GET or POST.
            path: as FastAPI reads it.
            access: who may use it.
            limit: the rate limit of a public route.
            redirects: True: success is a 303.
            more: for FastAPI's `api_route`.
        """
        guards = {
            Access.PUBLIC: _guard_public(limit),
            Access.ANNOTATOR: guard_annotator,
            Access.OPERATOR: guard_operator,
        }
        content = {"text/html": {"schema": {"type": "string"}}}
        seen_other: Responses = {303: {"description": "see the page named in Location", "content": content}}
        return self.api_route(
            path,
            methods=[method],
            dependencies=[Depends(guards[access])],
            openapi_extra={"x-access": access.value},
            status_code=303 if redirects else 200,
            response_class=HTMLResponse,
            response_model=None,
            responses={
                **_REFUSALS,
                **seen_other,
                **({} if redirects else {200: {"content": content}}),
                **more.pop("responses", {}),
            },
            **more,
        )


def undeclared(app: FastAPI) -> list[str]:
    """Paths of routes that declare no access."""
    return [
        getattr(route, "path", str(route))
        for route in app.routes
        if "x-access" not in (getattr(route, "openapi_extra", None) or {})
    ]
