"""The running page: its database, its rules, what it last heard from the stages, and how it draws."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.errors import CrlhfError
from crlhf.web import assignment, people
from crlhf.web.answers import annotation_rows, state_of_answers, submitted, utc
from crlhf.web.code_view import code_lines, highlighted, prose, safe_text
from crlhf.web.database import Database
from crlhf.web.limits import Limit, RateLimits
from crlhf.web.sources import NO_ESTIMATES, Estimates, Sources

if TYPE_CHECKING:
    import jinja2

FOLDER = Path(__file__).parent
_log = logging.getLogger("crlhf.web")


class Settings(NamedTuple):
    """How the page runs.

    Attributes:
        rules: how work is given out, and what it pays.
        session_goal: what the progress bar counts up to; the same for everybody, or it would tell honeypots apart.
        currency: of costs.
        public_url: the address that people use, when a proxy stands before the page; https makes cookies secure.
        address: what links begin with where there is no `public_url`.
        refresh_s: seconds between two looks at items and estimates; 0: none but the first.
        limits: rate limits that differ from `limits.LIMITS`.
    """

    rules: assignment.Rules
    session_goal: int = 40
    currency: str = "EUR"
    public_url: str | None = None
    address: str = ""
    refresh_s: float = 20.0
    limits: dict[str, Limit] = {}  # noqa: RUF012  (read only)


class Page:
    """The page's state; safe to use from several threads."""

    def __init__(
        self, database: Database, settings: Settings, sources: Sources, clock: Callable[[], float] = time.time
    ) -> None:
        self.database = database
        self.settings = settings
        self.sources = sources
        self.clock = clock
        self.limits = RateLimits(settings.limits)
        self.estimates: Estimates = NO_ESTIMATES
        self.estimated_at: float | None = None
        self._estimated: tuple[int, int] | None = None
        self._stop = threading.Event()

    def refresh(self) -> None:
        """Take over the items that the project shows now, and ask what the answers say if there are new ones."""
        shown = self.sources.items()
        for one in shown:  # drawn for all before any is shown, or the first look at an item would take longer
            code_lines(one.code, one.language, one.line_nos)
            for example in one.examples:
                highlighted(example, one.language)
        with self.database.write() as connection:
            assignment.sync_items(connection, shown, self.settings.rules)
            people.drop_expired(connection, self.clock())
        with self.database.read() as connection:
            state = state_of_answers(connection)
            if state == self._estimated:
                return
            found = submitted(connection)
        estimates = self.sources.estimates(list(annotation_rows(found))) if found else NO_ESTIMATES
        with self.database.write() as connection:
            assignment.want_more(connection, estimates.n_more, self.settings.rules)
        self.estimates, self.estimated_at, self._estimated = estimates, self.clock(), state

    def keep_fresh(self) -> None:
        """Refresh until `stop`; a source that fails is logged, and asked again later."""
        wait = self.settings.refresh_s
        while not self._stop.wait(wait):
            began = time.monotonic()
            try:
                if not self.database.is_scrubbed:
                    self.database.scrub()
                self.refresh()
            except CrlhfError as error:
                _log.warning("crlhf: %s", error)
            except Exception:
                _log.exception("crlhf: the page could not be refreshed")
            wait = max(self.settings.refresh_s, 10 * (time.monotonic() - began))

    def stop(self) -> None:
        """End `keep_fresh`."""
        self._stop.set()

    @property
    def is_secure(self) -> bool:
        """Whether cookies may go over TLS only."""
        return (self.settings.public_url or "").startswith("https:")

    def cookie(self, role: str) -> str:
        """The name of the session cookie of a role."""
        return f"{'__Host-' if self.is_secure else ''}crlhf_{role}"

    @cached_property
    def files(self) -> dict[str, tuple[bytes, str]]:
        """Static files by name: content and media type."""
        kinds = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
        found = sorted((FOLDER / "static").iterdir())
        return {path.name: (path.read_bytes(), kinds[path.suffix]) for path in found if path.suffix in kinds}

    @cached_property
    def templates(self) -> jinja2.Environment:
        """Templates; everything put into them is escaped unless it is safe HTML already."""
        import jinja2

        loader = jinja2.FileSystemLoader(FOLDER / "templates")
        made = jinja2.Environment(
            loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        made.auto_reload = False
        versions = {
            name: f"/static/{name}?v={hashlib.sha256(body).hexdigest()[:12]}" for name, (body, _) in self.files.items()
        }
        made.globals.update(static=versions, code_lines=code_lines, currency=self.settings.currency)
        made.filters.update(visible=safe_text, highlighted=highlighted, prose=prose)
        made.filters.update(clock=_clock, when=_when, tuple_of=tuple)
        return made

    def draw(self, template: str, **values: Any) -> str:
        """A template as HTML."""
        return self.templates.get_template(f"{template}.html.jinja").render(**values)


def _clock(seconds: float) -> str:
    """Seconds as h:mm:ss, or m:ss below an hour."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _when(seconds: float | None) -> str:
    """A time for people: UTC, to the minute."""
    return utc(seconds)[:16].replace("T", " ") if seconds is not None else "never"
