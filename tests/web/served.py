"""The page behind a test client, with a clock that stands still and people who are signed in."""

import re
from contextlib import contextmanager
from urllib.parse import urlencode

from starlette.testclient import TestClient

from crlhf.web import people
from crlhf.web.app import create_app
from crlhf.web.page import Page, Settings
from crlhf.web.sources import NO_ESTIMATES, Sources
from tests.web.conftest import RULES, items

HOST = "http://testserver"
NOW = 1_750_000_000.0
FORM = {"content-type": "application/x-www-form-urlencoded"}


class Served:
    """The page and a client without a session."""

    def __init__(self, database, shown=None, rules=RULES, estimates=lambda rows: NO_ESTIMATES, **settings):
        self.now = NOW
        self.deleted = []
        shown = items() if shown is None else shown
        self.page = Page(
            database,
            Settings(rules, refresh_s=0, **settings),
            Sources(lambda: shown, estimates, self.deletion),
            lambda: self.now,
        )
        self.page.refresh()
        self.app = create_app(self.page)
        self.database = database

    @contextmanager
    def deletion(self, annotator_id):
        self.deleted.append(annotator_id)
        yield

    def client(self, session=None, role="annotator", origin=HOST):
        headers = {} if origin is None else {"origin": origin}
        client = TestClient(self.app, base_url=HOST, headers=headers, follow_redirects=False)
        if session:
            client.cookies.set(self.page.cookie(role), session)
        return client

    def invitation(self):
        with self.database.write() as connection:
            return people.invite(connection, 1, "", self.now, "test")[0]

    def session(self, *, is_trained=True):
        """Session token and id of an annotator."""
        made = self.invitation()
        with self.database.write() as connection:
            session = people.join(connection, made.token, self.now)
            if is_trained:
                people.read_guide(connection, made.annotator_id, self.now)
                for number in (1, 2, 3):
                    people.practise(connection, made.annotator_id, number, [], 3, self.now)
        return session, made.annotator_id

    def annotator(self, **more):
        return self.client(self.session(**more)[0])

    def operator_session(self):
        with self.database.write() as connection:
            key = people.add_operator(connection, "ada", self.now, "test")
            return people.sign_in(connection, "ada", key, self.now)

    def operator(self):
        return self.client(self.operator_session(), "operator")


def hidden_fields(html):
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', html))


def post(client, path, fields=(), **more):
    return client.post(path, content=urlencode(list(dict(fields).items()), doseq=True), headers=FORM, **more)


def answer_fields(client, **sent):
    return hidden_fields(client.get("/task").text) | (sent or {"nothing": "1"})
