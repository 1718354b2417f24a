"""Who may do what: every route against every kind of credential, and writes from elsewhere."""

import re

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from crlhf.web import app as app_module
from crlhf.web import audit, people, tables
from crlhf.web.access import undeclared
from crlhf.web.app import create_app
from tests.web.served import HOST, Served, answer_fields, post

OTHER_ID = "a_0123456789abcdef"
ROUTES = [
    (route.path, method, route.openapi_extra["x-access"])
    for routes in (app_module.common, app_module.annotator_routes.routes, app_module.operator_routes.routes)
    for route in routes.routes
    for method in sorted(route.methods)
]
GUARDED = [(path, method, access) for path, method, access in ROUTES if access != "public"]
WRITES = [(path, access) for path, method, access in ROUTES if method == "POST"]


def filled(path):
    names = {"annotator_id": OTHER_ID, "number": "1", "token": "t", "name": "page.css"}
    return re.sub(r"\{(\w+)\}", lambda found: names[found[1]], path)


def everything(database):
    with database.read() as connection:
        return [connection.scalar(select(func.count()).select_from(table)) for table in tables.metadata.sorted_tables]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from crlhf.web.database import open_database

    database = open_database(f"sqlite:///{tmp_path_factory.mktemp('access')}/page.sqlite3")
    yield Served(database)
    database.close()


@pytest.fixture(scope="module")
def wrong_sessions(served):
    """No session, a bad one, an expired one, another role's, and a revoked annotator's, by the role asked for."""
    annotator, _ = served.session()
    revoked, revoked_id = served.session()
    with served.database.write() as connection:
        expired = [
            people._open_session(connection, role, role, "ada", served.now - 1) for role in ("annotator", "operator")
        ]
        people.revoke(connection, revoked_id, served.now, "test")
    operator = served.operator_session()
    return {
        "annotator": [None, "nonsense", expired[0], operator, revoked],
        "operator": [None, "nonsense", expired[1], annotator],
    }


def test_every_route_of_the_page_is_listed_and_most_are_guarded():
    assert len(ROUTES) > 25
    assert {path for path, _, access in ROUTES if access == "public"} == {
        "/",
        "/health",
        "/join",
        "/join/{token}",
        "/operator/sign-in",
        "/static/{name}",
    }


def test_a_route_without_declared_access_is_found_and_stops_the_page(served, monkeypatch):
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.get("/sneaky")(lambda: "hello")
    assert undeclared(app) == ["/sneaky"]
    assert undeclared(served.app) == []
    monkeypatch.setattr(app_module.common, "routes", [*app_module.common.routes, *app.routes])
    with pytest.raises(RuntimeError, match="/sneaky"):
        create_app(served.page)


@pytest.mark.parametrize(("path", "method", "access"), GUARDED)
def test_a_guarded_route_lets_no_wrong_credential_in(served, wrong_sessions, path, method, access):
    before = everything(served.database)
    for session in wrong_sessions[access]:
        served.now += 5  # within the rate limits
        answer = served.client(session, access).request(method, filled(path))
        assert answer.status_code == 401, session
        assert "set-cookie" not in answer.headers
    assert everything(served.database) == before


@pytest.mark.parametrize(("path", "access"), WRITES)
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://testserver.evil.example", None])
def test_a_write_from_elsewhere_is_403_and_changes_nothing(served, path, access, origin):
    served.now += 5
    session = served.session()[0] if access == "annotator" else served.operator_session()
    before = everything(served.database)
    client = served.client(session, access if access != "public" else "annotator", origin=origin)
    answer = post(client, filled(path), {"token": "t", "n": "1", "paused": "yes", "confirm": OTHER_ID, "nothing": "1"})
    assert answer.status_code == 403
    assert everything(served.database) == before


def test_a_browser_that_sends_no_origin_but_says_same_origin_may_write(served):
    client = served.client(served.session()[0], origin=None)
    client.headers["sec-fetch-site"] = "same-origin"
    assert post(client, "/guide").status_code == 303
    client.headers["sec-fetch-site"] = "cross-site"
    assert post(client, "/guide").status_code == 403


def test_behind_a_proxy_only_the_public_address_may_write(lite):
    served = Served(lite, public_url="https://annotate.example.org/")
    session, _ = served.session()
    for origin, status in (("https://annotate.example.org", 303), (HOST, 403), ("http://annotate.example.org", 403)):
        client = served.client(origin=origin)
        client.cookies.set("__Host-crlhf_annotator", session)
        assert post(client, "/guide").status_code == status


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(lite):
    served = Served(lite)
    answer = post(served.client(), "/join", {"token": served.invitation().token})
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 303
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    secure = Served(lite, public_url="https://a.example")
    client = secure.client(origin="https://a.example")
    cookie = post(client, "/join", {"token": secure.invitation().token}).headers["set-cookie"]
    assert cookie.startswith("__Host-crlhf_annotator=")
    assert "Secure" in cookie
    assert "Path=/" in cookie


def test_another_annotators_item_is_not_found(served):
    mine, other = served.annotator(), served.annotator()
    fields = answer_fields(mine)
    before = everything(served.database)
    assert post(other, "/task", fields).status_code == 404
    assert everything(served.database) == before
    assert post(mine, "/task", fields).status_code == 303


def test_ids_that_a_client_meets_cannot_be_guessed(served):
    leases = {answer_fields(served.annotator())["lease_id"] for _ in range(5)}
    assert len(leases) == 5
    assert all(re.fullmatch("[0-9a-f]{32}", lease) for lease in leases)


def test_a_link_is_used_up_by_joining_only(lite):
    served = Served(lite)
    token = served.invitation().token
    for _ in range(3):
        assert served.client().get(f"/join/{token}").status_code == 200
    assert post(served.client(), "/join", {"token": token}).status_code == 303
    assert served.client().get(f"/join/{token}").status_code == 404
    assert post(served.client(), "/join", {"token": token}).status_code == 404


def test_revoking_takes_effect_on_the_next_request(lite):
    served = Served(lite)
    session, annotator_id = served.session()
    client = served.client(session)
    fields = answer_fields(client)
    assert post(served.operator(), f"/operator/annotators/{annotator_id}/revoke").status_code == 303
    assert client.get("/task").status_code == 401
    assert post(client, "/task", fields).status_code == 401
    assert post(served.operator(), f"/operator/annotators/{OTHER_ID}/revoke").status_code == 404


def test_signing_out_ends_the_session(lite):
    served = Served(lite)
    client = served.annotator()
    kept = client.cookies.get("crlhf_annotator")
    assert post(client, "/leave").status_code == 303
    assert served.client(kept).get("/task").status_code == 401
    operator = served.operator()
    kept = operator.cookies.get("crlhf_operator")
    assert post(operator, "/operator/sign-out").status_code == 303
    assert served.client(kept, "operator").get("/operator").status_code == 401


def test_a_session_that_was_planted_is_not_the_one_that_opens(lite):
    """Session fixation: whatever cookie someone brings, joining and signing in make a new one."""
    served = Served(lite)
    with served.database.write() as connection:
        key = people.add_operator(connection, "ada", served.now, "test")
    planted = {"annotator": served.session()[0], "operator": "planted"}
    for role, path, fields in (
        ("annotator", "/join", {"token": served.invitation().token}),
        ("operator", "/operator/sign-in", {"name": "ada", "key": key}),
    ):
        answer = post(served.client(planted[role], role), path, fields)
        opened = re.match(r"[\w-]+=([\w-]+);", answer.headers["set-cookie"])[1]
        assert opened != planted[role]
        assert len(opened) >= 43  # 256 bits
        with served.database.read() as connection:
            if role == "annotator":
                mine, other = (people.annotator_of(connection, one, served.now) for one in (opened, planted[role]))
                assert mine["annotator_id"] != other["annotator_id"]
            else:
                assert people.operator_of(connection, planted[role], served.now) is None


ACTS = {
    "POST /operator/sign-out": ({}, "sign-out"),
    "POST /operator/invitations": ({"n": "2", "label": "pilot"}, "invite"),
    "POST /operator/annotators/{annotator_id}/link": ({}, "invite"),
    "POST /operator/annotators/{annotator_id}/revoke": ({}, "revoke"),
    "POST /operator/annotators/{annotator_id}/delete": ({"confirm": None}, "delete annotator"),
    "POST /operator/pause": ({"paused": "yes"}, "pause"),
    "GET /operator/annotators/{annotator_id}/data.json": ({}, "export one"),
    "GET /operator/annotations.jsonl": ({}, "export"),
    "GET /operator/answers.csv": ({}, "export"),
}
LOOKS = {"GET /operator", "GET /operator/annotators/{annotator_id}"}


def test_everything_that_an_operator_can_do_is_in_the_audit_log(lite):
    assert {f"{method} {path}" for path, method, access in ROUTES if access == "operator"} == set(ACTS) | LOOKS
    served = Served(lite)
    for act, (fields, action) in ACTS.items():
        session, annotator_id = served.session()
        operator = served.operator_session()
        client = served.client(operator, "operator")
        method, path = act.split(" ")
        path = path.replace("{annotator_id}", annotator_id)
        sent = {name: annotator_id if value is None else value for name, value in fields.items()}
        answer = client.get(path) if method == "GET" else post(client, path, sent)
        assert answer.status_code in (200, 303), act
        with served.database.read() as connection:
            newest = audit.events(connection, 1)[0]
            log = str(audit.events(connection, 1000))
        assert (newest["actor"], newest["action"], newest["at"]) == ("operator:ada", action, served.now), act
        assert session not in log
        assert operator not in log
    assert len(served.deleted) == 1
