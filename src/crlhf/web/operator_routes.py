"""What operators see and do: progress, reliability, suspects; invite, revoke, pause, export, delete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Form, Path
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

from crlhf.errors import InputError
from crlhf.web import audit, charts, exports, people, privacy, progress
from crlhf.web.access import Access, Operator, PageHere, Responses, Routes
from crlhf.web.annotator_routes import see, set_session
from crlhf.web.collection import n_waiting
from crlhf.web.forms import AnnotatorId, DeleteForm, InviteForm, PauseForm, SignInForm
from crlhf.web.page import Page
from crlhf.web.refusals import RefusedError

routes = Routes()
_HOME = "/operator"
_JSON: Responses = {200: {"content": {"application/json": {}}}}
_LINES: Responses = {200: {"content": {"application/x-ndjson": {}}}}
_CSV: Responses = {200: {"content": {"text/csv": {}}}}
Whom = Annotated[AnnotatorId, Path()]


@routes.add("GET", "/operator/sign-in", Access.PUBLIC)
def sign_in_page(page: PageHere) -> HTMLResponse:
    """The operator's door."""
    return HTMLResponse(page.draw("sign_in", sentence=""))


@routes.add("POST", "/operator/sign-in", Access.PUBLIC, limit="sign-in", redirects=True)
def sign_in(page: PageHere, form: Annotated[SignInForm, Form()]) -> Response:
    """Open an operator's session."""
    with page.database.write() as connection:
        session = people.sign_in(connection, form.name.strip(), form.key.strip(), page.clock())
    if session is None:
        raise RefusedError(401, "This name and key do not belong together.", sign_in=True)
    answer = see(_HOME)
    set_session(page, answer, "operator", session, people.OPERATOR_SESSION_S)
    return answer


@routes.add("POST", "/operator/sign-out", Access.OPERATOR, redirects=True)
def sign_out(page: PageHere, operator: Operator) -> RedirectResponse:
    """End the operator's sessions, on every machine."""
    with page.database.write() as connection:
        people.end_sessions(connection, "operator", operator)
        audit.note(connection, page.clock(), f"operator:{operator}", "sign-out")
    return see("/operator/sign-in")


@routes.add("GET", _HOME, Access.OPERATOR)
def dashboard(page: PageHere, operator: Operator) -> HTMLResponse:
    """Progress, reliability, suspects, and everything that can be done."""
    return HTMLResponse(draw_dashboard(page, operator))


def draw_dashboard(page: Page, operator: str, *, links: list[people.Invitation] | None = None, said: str = "") -> str:
    """The dashboard, with new links, which are shown this once, and with what was just done."""
    with page.database.read() as connection:
        workers = progress.workers(connection)
        values: dict[str, Any] = {
            "rounds": progress.rounds(connection),
            "is_paused": progress.is_paused(connection),
            "n_answers": progress.n_answers(connection),
            "n_waiting": n_waiting(connection),
            "events": audit.events(connection, 12),
        }
    estimates = page.estimates
    return page.draw(
        "operator",
        operator=operator,
        workers=workers,
        estimates=estimates,
        estimated_at=page.estimated_at,
        of={one.annotator_id: one for one in estimates.annotators},
        suspects=estimates.suspects,
        range_bar=charts.range_bar,
        links=[(link.annotator_id, _address(page, link.token)) for link in links or []],
        said=said,
        cost=sum(worker.cost for worker in workers),
        hours=sum(worker.hours for worker in workers),
        **values,
    )


def _address(page: Page, token: str) -> str:
    return f"{(page.settings.public_url or page.settings.address).rstrip('/')}/join/{token}"


@routes.add("POST", "/operator/invitations", Access.OPERATOR)
def invite(page: PageHere, operator: Operator, form: Annotated[InviteForm, Form()]) -> HTMLResponse:
    """Make links for new annotators; they are shown this once."""
    with page.database.write() as connection:
        made = people.invite(connection, form.n, form.label, page.clock(), f"operator:{operator}")
    return HTMLResponse(draw_dashboard(page, operator, links=made))


@routes.add("GET", "/operator/annotators/{annotator_id}", Access.OPERATOR)
def annotator(page: PageHere, annotator_id: Whom, _: Operator) -> HTMLResponse:
    """One annotator: how the honeypots moved the estimate, and what was done."""
    with page.database.read() as connection:
        found = [one for one in progress.workers(connection) if one.annotator_id == annotator_id]
    if not found:
        raise RefusedError(404, "There is no such annotator.")
    mine = [one for one in page.estimates.annotators if one.annotator_id == annotator_id]
    suspicions = [one for one in page.estimates.suspects if one.annotator_id == annotator_id]
    estimate = mine[0] if mine else None
    return HTMLResponse(
        page.draw(
            "annotator",
            worker=found[0],
            estimate=estimate,
            suspicions=suspicions,
            range_bar=charts.range_bar,
            chart=charts.moving_intervals(estimate.steps) if estimate else "",
        )
    )


@routes.add("POST", "/operator/annotators/{annotator_id}/link", Access.OPERATOR)
def link_again(page: PageHere, annotator_id: Whom, operator: Operator) -> HTMLResponse:
    """A new link for someone who lost theirs."""
    try:
        with page.database.write() as connection:
            made = people.invite_again(connection, annotator_id, page.clock(), f"operator:{operator}")
    except InputError as error:
        raise RefusedError(404, str(error)) from None
    return HTMLResponse(draw_dashboard(page, operator, links=[made]))


@routes.add("POST", "/operator/annotators/{annotator_id}/revoke", Access.OPERATOR, redirects=True)
def revoke(page: PageHere, annotator_id: Whom, operator: Operator) -> RedirectResponse:
    """Shut someone out; the answers stay."""
    try:
        with page.database.write() as connection:
            people.revoke(connection, annotator_id, page.clock(), f"operator:{operator}")
    except InputError as error:
        raise RefusedError(404, str(error)) from None
    return see(_HOME)


@routes.add("POST", "/operator/annotators/{annotator_id}/delete", Access.OPERATOR)
def delete(page: PageHere, annotator_id: Whom, operator: Operator, form: Annotated[DeleteForm, Form()]) -> HTMLResponse:
    """Delete everything that the page holds about someone."""
    if form.confirm != annotator_id:
        raise RefusedError(422, "To delete someone, repeat the annotator's id.")
    try:
        gone = privacy.delete_annotator(page.database, page.sources, annotator_id, page.clock(), f"operator:{operator}")
    except InputError as error:
        raise RefusedError(404, str(error)) from None
    said = f"{annotator_id} and {gone.n_answers} answers were deleted here."
    if gone.n_collected:
        said += f" {gone.n_collected} of them are in batch files already: run crlhf forget {annotator_id}."
    return HTMLResponse(draw_dashboard(page, operator, said=said))


@routes.add("POST", "/operator/pause", Access.OPERATOR, redirects=True)
def pause(page: PageHere, operator: Operator, form: Annotated[PauseForm, Form()]) -> RedirectResponse:
    """Stop giving out work, or go on."""
    with page.database.write() as connection:
        progress.set_paused(connection, form.paused == "yes")
        did = "pause" if form.paused == "yes" else "go on"
        audit.note(connection, page.clock(), f"operator:{operator}", did)
    return see(_HOME)


@routes.add("GET", "/operator/annotators/{annotator_id}/data.json", Access.OPERATOR, responses=_JSON)
def data_of(page: PageHere, annotator_id: Whom, operator: Operator) -> Response:
    """A copy of everything that the page holds about someone."""
    try:
        with page.database.write() as connection:
            copied = privacy.copy_of(connection, annotator_id)
            audit.note(connection, page.clock(), f"operator:{operator}", "export one", annotator_id)
    except InputError as error:
        raise RefusedError(404, str(error)) from None
    return JSONResponse(copied, headers=_attachment(f"{annotator_id}.json"))


@routes.add("GET", "/operator/annotations.jsonl", Access.OPERATOR, responses=_LINES)
def export_rows(page: PageHere, operator: Operator) -> Response:
    """Every accepted answer as rows of the raw table, exactly."""
    return _stream(page, operator, exports.jsonl(page.database), "application/x-ndjson", "annotations.jsonl")


@routes.add("GET", "/operator/answers.csv", Access.OPERATOR, responses=_CSV)
def export_answers(page: PageHere, operator: Operator) -> Response:
    """Every accepted answer as a line of a spreadsheet; what a spreadsheet would take for a formula is disarmed."""
    return _stream(page, operator, exports.spreadsheet(page.database), "text/csv", "answers.csv")


def _stream(page: Page, operator: str, lines: Iterator[str], kind: str, name: str) -> Response:
    with page.database.write() as connection:
        audit.note(connection, page.clock(), f"operator:{operator}", "export", name)
    return StreamingResponse(lines, media_type=kind, headers=_attachment(name))


def _attachment(name: str) -> dict[str, str]:
    return {"content-disposition": f"attachment; filename={name}"}
