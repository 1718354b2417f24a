"""What annotators see: invitation, guide, training, tasks, thanks, and a copy of their own data."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import Form, Path, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from crlhf.web import assignment, people, privacy, progress
from crlhf.web.access import Access, Me, PageHere, Responses, Routes
from crlhf.web.answers import ERROR_TYPES, n_answered, submit
from crlhf.web.forms import AnswerForm, JoinForm, LinesForm
from crlhf.web.lessons import TRAINING, WORKED
from crlhf.web.page import Page
from crlhf.web.refusals import RefusedError

routes = Routes()
_SHUT = "This link was used already, has expired, or is not whole. Ask for a new one."
_BROWSER_S = 3600.0
_JSON: Responses = {200: {"content": {"application/json": {}}}}


def see(path: str) -> RedirectResponse:
    """Go on with GET at `path`."""
    return RedirectResponse(path, status_code=303, headers={"content-type": "text/html; charset=utf-8"})


def _next_step(me: Any) -> str | None:
    """Where someone has to go before tasks, or None."""
    if me["guide_at"] is None:
        return "/guide"
    return "/training/1" if me["trained_at"] is None else None


@routes.add("GET", "/", Access.PUBLIC)
def front(page: PageHere) -> HTMLResponse:
    """What this is, for people who come without an invitation."""
    return HTMLResponse(page.draw("front"))


@routes.add("GET", "/join/{token}", Access.PUBLIC, limit="join")
def invitation(page: PageHere, request: Request, token: Annotated[str, Path(max_length=200)]) -> HTMLResponse:
    """The door: looking uses nothing up, so that link previews do no harm.

    The browser gets a secret of its own, with which it may send the form again when the answer is lost on the way.
    """
    browser = request.cookies.get(page.cookie("browser"), "")
    with page.database.read() as connection:
        is_open = people.is_open_invitation(connection, token, page.clock(), browser)
    if not is_open:
        raise RefusedError(404, _SHUT)
    answer = HTMLResponse(page.draw("join", token=token))
    if not browser:
        set_session(page, answer, "browser", secrets.token_urlsafe(32), _BROWSER_S)
    return answer


@routes.add("POST", "/join", Access.PUBLIC, limit="join", redirects=True)
def join(page: PageHere, request: Request, form: Annotated[JoinForm, Form()]) -> Response:
    """Use the invitation up and open a session; the same browser may ask again."""
    with page.database.write() as connection:
        session = people.join(connection, form.token, page.clock(), request.cookies.get(page.cookie("browser"), ""))
    if session is None:
        raise RefusedError(404, _SHUT)
    answer = see("/task")
    set_session(page, answer, "annotator", session, people.ANNOTATOR_SESSION_S)
    return answer


def set_session(page: Page, answer: Response, role: str, token: str, max_age: float) -> None:
    """Put a session into a cookie that no script reads and no other site sends along."""
    answer.set_cookie(
        page.cookie(role), token, max_age=int(max_age), path="/", secure=page.is_secure, httponly=True, samesite="lax"
    )


@routes.add("POST", "/leave", Access.ANNOTATOR, redirects=True)
def leave(page: PageHere, me: Me) -> Response:
    """Sign out on this machine; a new link is needed to come back."""
    with page.database.write() as connection:
        people.free_leases(connection, me["annotator_id"])
        people.end_sessions(connection, "annotator", me["annotator_id"])
    answer = see("/")
    answer.delete_cookie(page.cookie("annotator"), path="/", secure=page.is_secure, httponly=True, samesite="lax")
    return answer


@routes.add("GET", "/guide", Access.ANNOTATOR)
def guide(page: PageHere, me: Me) -> HTMLResponse:
    """How to judge, with worked examples."""
    return HTMLResponse(page.draw("guide", lessons=WORKED, is_new=_next_step(me) is not None))


@routes.add("POST", "/guide", Access.ANNOTATOR, redirects=True)
def guide_read(page: PageHere, me: Me) -> Response:
    """The guide was read."""
    with page.database.write() as connection:
        people.read_guide(connection, me["annotator_id"], page.clock())
    return see("/training/1" if me["trained_at"] is None else "/task")


Number = Annotated[int, Path(ge=1, le=len(TRAINING))]


@routes.add("GET", "/training/{number}", Access.ANNOTATOR)
def training(page: PageHere, me: Me, number: Number) -> Response:
    """A training item; with feedback once it is answered."""
    if me["guide_at"] is None:
        return see("/guide")
    with page.database.read() as connection:
        answered = people.practised(connection, me["annotator_id"])
    first_open = next((n for n in range(1, len(TRAINING) + 1) if n not in answered), len(TRAINING))
    if number > first_open:
        return see(f"/training/{first_open}")
    return HTMLResponse(_draw_training(page, number, answered.get(number)))


def _draw_training(page: Page, number: int, marked: list[int] | None) -> str:
    lesson = TRAINING[number - 1]
    return page.draw("training", number=number, n_lessons=len(TRAINING), lesson=lesson, marked=marked)


@routes.add("POST", "/training/{number}", Access.ANNOTATOR, redirects=True)
def training_answer(page: PageHere, me: Me, number: Number, form: Annotated[LinesForm, Form()]) -> Response:
    """Keep an answer to a training item."""
    marked = sorted(set(form.line))
    if not set(marked) <= set(TRAINING[number - 1].line_nos) or bool(marked) == (form.nothing is not None):
        raise RefusedError(422, "Mark at least one line, or say that no line is wrong, but not both.")
    with page.database.write() as connection:
        people.practise(connection, me["annotator_id"], number, marked, len(TRAINING), page.clock())
    return see(f"/training/{number}")


@routes.add("GET", "/task", Access.ANNOTATOR)
def task(page: PageHere, me: Me) -> Response:
    """The open item, or the next one."""
    step = _next_step(me)
    if step is not None:
        return see(step)
    now = page.clock()
    with page.database.write(is_durable=False) as connection:
        if progress.is_paused(connection):
            return HTMLResponse(page.draw("paused"))
        given = assignment.next_task(connection, me["annotator_id"], page.settings.rules, now)
        n_done = n_answered(connection, me["annotator_id"])
        began = people.touch(connection, me, now)
    if given is None:
        return see("/thanks")
    return HTMLResponse(
        page.draw(
            "task",
            item=given.item,
            lease_id=given.lease_id,
            key=secrets.token_hex(16),
            n_done=n_done,
            goal=page.settings.session_goal,
            session_s=now - began,
            error_types=ERROR_TYPES,
        )
    )


@routes.add("POST", "/task", Access.ANNOTATOR, redirects=True)
def task_answer(page: PageHere, me: Me, form: Annotated[AnswerForm, Form()]) -> Response:
    """Accept an answer: it is on the disk before this returns."""
    with page.database.write() as connection:
        submit(connection, me["annotator_id"], form.submission(), page.settings.rules, page.clock())
    return see("/task")


@routes.add("GET", "/thanks", Access.ANNOTATOR)
def thanks(page: PageHere, me: Me) -> HTMLResponse:
    """Nothing is left to do for now."""
    with page.database.read() as connection:
        n_done = n_answered(connection, me["annotator_id"])
    return HTMLResponse(page.draw("thanks", n_done=n_done, annotator_id=me["annotator_id"]))


@routes.add("GET", "/my-data", Access.ANNOTATOR, responses=_JSON)
def my_data(page: PageHere, me: Me) -> Response:
    """A copy of everything that is kept about the annotator, but the operator's own note and what tells honeypots."""
    with page.database.read() as connection:
        copied = privacy.copy_of(connection, me["annotator_id"])
    for row in copied["annotators"]:
        row.pop("label")
        row.pop("order_seed")  # with the page's code it would tell which turns were honeypots
    for row in [*copied["leases"], *copied["answers"]]:
        row.pop("completion_id")  # a hash of the program, which differs between honeypots and others
        row.pop("position")
    name = f"attachment; filename={me['annotator_id']}.json"
    return JSONResponse(copied, headers={"content-disposition": name})
