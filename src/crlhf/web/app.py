"""The page as an ASGI application."""

from __future__ import annotations

import gc
import math
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from anyio import to_thread
from fastapi import FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from crlhf.web import annotator_routes, operator_routes
from crlhf.web.access import Access, PageHere, Routes, page_of, undeclared
from crlhf.web.page import Page
from crlhf.web.refusals import RefusedError
from crlhf.web.shell import Shell

N_THREADS = 8
"""Requests in work at once: enough to share flushes of the disk; more would only wait for one another."""

common = Routes()
_SENTENCES = {404: "There is no such page.", 405: "This page does not take that kind of request."}


@common.add("GET", "/health", Access.PUBLIC, responses={200: {"content": {"text/plain": {}}}})
def health(page: PageHere) -> PlainTextResponse:
    """For a proxy: the page and its database answer."""
    with page.database.read():
        return PlainTextResponse("ok")


@common.add(
    "GET",
    "/static/{name}",
    Access.PUBLIC,
    responses={200: {"content": {"text/css": {}, "text/javascript": {}, "image/svg+xml": {}}}},
)
def static(page: PageHere, name: Annotated[str, Path(max_length=100)]) -> Response:
    """A style sheet or script; its address changes with its content, so browsers may keep it."""
    if name not in page.files:
        raise RefusedError(404, "There is no such file.")
    content, kind = page.files[name]
    return Response(content, media_type=kind, headers={"cache-control": "public, max-age=31536000, immutable"})


def settle() -> None:
    """For a process that only serves: what was loaded by now stays, and is not looked through again for garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def create_app(page: Page) -> FastAPI:
    """The application around a page. Refreshing begins when it is started, not here.

    Raises:
        RuntimeError: a route does not declare who may use it.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = N_THREADS
        if page.settings.refresh_s:
            threading.Thread(target=page.keep_fresh, name="page-refresh", daemon=True).start()
        yield
        page.stop()

    app = FastAPI(title="cRLHF annotation page", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.page = page
    for routes in (common, annotator_routes.routes, operator_routes.routes):
        app.router.routes.extend(routes.routes)
    missing = undeclared(app)
    if missing:
        raise RuntimeError(f"routes without declared access: {missing}")
    app.add_middleware(Shell, public_url=page.settings.public_url)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    return app


def _message(request: Request, status: int, sentence: str, headers: dict[str, str] | None = None) -> HTMLResponse:
    page = page_of(request)
    return HTMLResponse(page.draw("message", status=status, sentence=sentence), status, headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    if error.sign_in:
        return HTMLResponse(page_of(request).draw("sign_in", sentence=error.sentence), error.status)
    headers = {"retry-after": str(math.ceil(error.retry_after))} if error.retry_after else None
    return _message(request, error.status, error.sentence, headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = ", ".join(sorted({str(part["loc"][-1])[:40] for part in error.errors()}))
    return _message(request, 422, f"Something in this request is not as it should be: {fields}.")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = _SENTENCES.get(error.status_code, "This request cannot be read.")
    return _message(request, error.status_code, sentence, dict(error.headers or {}))
