"""What a single request can do: bodies, limits, headers, repeats."""

import re

import pytest
from sqlalchemy import func, select
from starlette.requests import Request

from crlhf.web import tables
from crlhf.web.access import client_of
from crlhf.web.limits import Limit, RateLimits
from crlhf.web.shell import HEADERS, MAX_BODY
from tests.web.conftest import RULES, item
from tests.web.served import FORM, Served, answer_fields, hidden_fields, post


@pytest.fixture
def served(lite):
    return Served(lite)


def answers(served):
    with served.database.read() as connection:
        return list(connection.execute(select(tables.answers)).mappings())


def test_the_same_answer_twice_is_one_row_and_is_acknowledged_alike(served):
    client = served.annotator()
    fields = answer_fields(client, line="3", comment="  why\r\nnot ", active_s="1.5")
    served.now += 30
    first, second = post(client, "/task", fields), post(client, "/task", fields)
    assert (first.status_code, first.headers["location"]) == (second.status_code, second.headers["location"])
    (kept,) = answers(served)
    assert (kept["wrong_line_nos"], kept["comment"], kept["duration_s"]) == ([3], "why\nnot", 1.5)


def test_a_form_of_another_item_sent_with_an_old_key_is_refused(served):
    client = served.annotator()
    old = answer_fields(client)
    post(client, "/task", old)
    fresh = answer_fields(client)
    assert post(client, "/task", fresh | {"idempotency_key": old["idempotency_key"]}).status_code == 409
    assert len(answers(served)) == 1


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"a=" + b"x" * MAX_BODY, FORM, 413),
        (b"[" * 20_000 + b"]" * 20_000, {"content-type": "application/json"}, 415),
        (b"{}", {"content-type": "application/json"}, 415),
        (b"nothing=1", {}, 415),
        (b"--x\r\n\r\n--x--", {"content-type": "multipart/form-data; boundary=x"}, 415),
        (b"\xff\xfe\x00", FORM, 422),
        (b"lease_id=1&lease_id=2", FORM, 422),
        (b"&".join(b"line=%d" % n for n in range(1, 6000)), FORM, 400),
        (b"", FORM, 422),
    ],
)
def test_odd_bodies_are_refused_and_change_nothing(served, content, headers, status):
    client = served.annotator()
    assert client.post("/task", content=content, headers=headers).status_code == status
    assert not answers(served)


@pytest.mark.parametrize(
    "change",
    [
        {"line": "first"},
        {"line": "0"},
        {"line": "1e3"},
        {"line": "99999999999999999999"},
        {"line": ["3", "x"]},
        {"active_s": "nan"},
        {"active_s": "-1"},
        {"active_s": "inf"},
        {"lease_id": "x" * 32},
        {"lease_id": "0" * 31},
        {"skip": "maybe"},
        {"error_type": "x" * 41},
        {"comment": "x" * 2001},
        {"idempotency_key": ""},
    ],
)
def test_values_of_wrong_types_are_refused(served, change):
    client = served.annotator()
    assert post(client, "/task", answer_fields(client, nothing="1") | change).status_code == 422
    assert not answers(served)


def test_a_body_is_capped_by_the_bytes_read_not_by_what_it_claims(served):
    client = served.annotator()

    def endless():
        for _ in range(1000):
            yield b"x" * 1024

    assert client.post("/task", content=endless(), headers=FORM).status_code == 413


def test_a_nul_in_a_comment_is_left_out(served):
    client = served.annotator()
    assert post(client, "/task", answer_fields(client, nothing="1", comment="a\0b")).status_code == 303
    assert answers(served)[0]["comment"] == "ab"


@pytest.mark.parametrize("path", ["/", "/task", "/nowhere", "/static/page.css", "/health", "/operator", "/join/x"])
def test_every_response_has_the_security_headers(served, path):
    for answer in (served.client().get(path), served.client(origin="http://evil.example").post(path)):
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert "server" not in answer.headers
    assert "unsafe" not in HEADERS["content-security-policy"]


def test_pages_are_not_kept_and_files_are(served):
    assert served.client().get("/").headers["cache-control"] == "no-store"
    assert "immutable" in served.client().get("/static/page.css").headers["cache-control"]


def test_pages_hold_no_inline_script_or_style_and_nothing_from_elsewhere(served):
    client, operator = served.annotator(), served.operator()
    pages = [client.get(path).text for path in ("/", "/guide", "/training/1", "/task", "/thanks")]
    pages += [operator.get("/operator").text, served.client().get("/operator/sign-in").text]
    for html in pages:
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?! src=\"/static/)", html)
        assert not re.search(r"(src|href|action)=\"(?!/|#)", html)


def test_strict_transport_is_asked_for_behind_tls_only(lite):
    assert "strict-transport-security" not in Served(lite).client().get("/").headers
    secure = Served(lite, public_url="https://a.example")
    assert secure.client().get("/").headers["strict-transport-security"] == "max-age=31536000"


def test_no_schema_and_no_other_files_are_served(served):
    for path in ("/openapi.json", "/docs", "/redoc", "/static/..%2fpage.py", "/static/%2e%2e", "/static/page.py"):
        assert served.client().get(path).status_code == 404


def test_keys_cannot_be_tried_without_end(served):
    client = served.client()
    statuses = [post(client, "/operator/sign-in", {"name": "ada", "key": "x"}).status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert int(post(client, "/operator/sign-in", {"name": "ada", "key": "x"}).headers["retry-after"]) >= 1
    served.now += 60
    assert post(client, "/operator/sign-in", {"name": "ada", "key": "x"}).status_code == 401


def test_one_annotator_cannot_flood_the_page_and_does_not_slow_another(lite):
    served = Served(lite, limits={"annotator": Limit(3, 1.0)})
    noisy, quiet = served.annotator(), served.annotator()
    assert [noisy.get("/thanks").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    assert quiet.get("/thanks").status_code == 200


def test_buckets_fill_again_at_their_rate():
    limits = RateLimits({"join": Limit(2, 0.5)})
    assert [limits.take("join", "me", 0.0) for _ in range(3)] == [0.0, 0.0, 2.0]
    assert limits.take("join", "you", 0.0) == 0.0
    assert limits.take("join", "me", 1.0) == 1.0
    assert limits.take("join", "me", 2.0) == 0.0


def test_a_form_whose_answer_was_lost_can_be_sent_again(served):
    token = served.invitation().token
    client, other = served.client(), served.client()
    assert client.get(f"/join/{token}").status_code == 200
    first = post(client, "/join", {"token": token})
    client.cookies.delete(served.page.cookie("annotator"))  # the answer never arrived
    assert client.get("/task").status_code == 401
    assert client.get(f"/join/{token}").status_code == 200
    again = post(client, "/join", {"token": token})
    assert (first.status_code, again.status_code) == (303, 303)
    assert client.get("/task").headers["location"] == "/guide"
    assert other.get(f"/join/{token}").status_code == 404
    assert post(other, "/join", {"token": token}).status_code == 404
    assert post(client, "/leave").status_code == 303
    assert post(client, "/join", {"token": token}).status_code == 404


def test_an_answer_needs_the_guide_and_the_training_first(served):
    client = served.annotator(is_trained=False)
    assert client.get("/task").headers["location"] == "/guide"
    assert post(client, "/guide").headers["location"] == "/training/1"
    assert client.get("/training/3").headers["location"] == "/training/1"
    assert client.get("/task").headers["location"] == "/training/1"
    for number, fields in ((1, {"line": "3"}), (2, {"nothing": "1"}), (3, {"line": ["2"]})):
        assert post(client, f"/training/{number}", fields).status_code == 303
    assert "Not quite" in client.get("/training/3").text
    assert "Just so" in client.get("/training/1").text
    assert client.get("/task").status_code == 200
    assert post(client, "/training/1", {"line": "1", "nothing": "1"}).status_code == 422
    assert post(client, "/training/4", {"nothing": "1"}).status_code == 422


def test_a_pause_gives_out_nothing_and_takes_what_is_open(served):
    client, operator = served.annotator(), served.operator()
    fields = answer_fields(client)
    post(operator, "/operator/pause", {"paused": "yes"})
    assert "paused" in client.get("/task").text
    assert post(client, "/task", fields).status_code == 303
    post(operator, "/operator/pause", {"paused": "no"})
    assert hidden_fields(client.get("/task").text)


def test_a_honeypot_and_a_task_are_the_same_bytes(tmp_path):
    """One program, once as a task and once as a honeypot: what the page sends differs in random tokens only."""
    from crlhf.web.database import open_database

    shown = {}
    for is_honeypot in (False, True):
        database = open_database(f"sqlite:///{tmp_path}/{is_honeypot}.sqlite3")
        program = item(1)
        rules = RULES._replace(honeypot_rate=0.0)
        served = Served(database, [program], rules)
        client = served.annotator()
        assert client.get("/task").status_code == 200
        if is_honeypot:  # nothing but the flag changes
            with database.write() as connection:
                connection.execute(tables.items.update().values(is_honeypot=True))
        answer = client.get("/task")
        sent = post(client, "/task", answer_fields(client))
        headers = [sorted(one.headers.items()) for one in (answer, sent)]
        shown[is_honeypot] = (re.sub(r"[0-9a-f]{32}", "-", answer.text), headers, sent.status_code, sent.content)
        with database.read() as connection:
            assert connection.scalar(select(func.count()).select_from(tables.answers)) == 1
        database.close()
    assert shown[False] == shown[True]
    assert "honeypot" not in shown[True][0].lower()


def test_progress_does_not_tell_what_kind_an_item_was(lite):
    """The bar counts answers up to a fixed goal, whatever was answered."""
    served = Served(lite, rules=RULES._replace(honeypot_rate=0.5), session_goal=9)
    client = served.annotator()
    for n in range(8):
        html = client.get("/task").text
        assert f">{n} of 9 judged<" in html
        post(client, "/task", hidden_fields(html) | {"nothing": "1"})


def test_a_copy_of_ones_data_does_not_tell_honeypots(served):
    client = served.annotator()
    for _ in range(4):
        post(client, "/task", answer_fields(client))
    copied = client.get("/my-data").json()
    assert len(copied["answers"]) == 4
    assert "honeypot" not in str(copied)
    assert "order_seed" not in str(copied)
    with served.database.read() as connection:
        judged = list(connection.scalars(select(tables.answers.c.completion_id)))
    assert len(judged) == 4
    assert not any(name in str(copied) for name in [*judged, "position"])


def test_links_cannot_be_tried_without_end(served):
    client = served.client()
    statuses = [client.get(f"/join/{n}").status_code for n in range(30)]
    statuses += [post(client, "/join", {"token": f"{n}"}).status_code for n in range(32)]
    assert statuses == [404] * 60 + [429] * 2
    assert client.get(f"/join/{served.invitation().token}").status_code == 429
    served.now += 10
    assert client.get(f"/join/{served.invitation().token}").status_code == 200


def test_whoever_has_no_session_cannot_ask_without_end(served):
    client = served.client("nonsense")
    assert [client.get("/task").status_code for _ in range(62)] == [401] * 60 + [429] * 2
    assert served.annotator().get("/task").status_code == 200


def test_limits_hold_a_bounded_number_of_addresses_and_keep_the_busy_ones():
    limits = RateLimits({"sign-in": Limit(10, 0.0001)})
    for n in range(50_000):
        limits.take("public", f"address {n}", 0.0)
        if n % 1000 == 0:
            limits.take("sign-in", "busy", 0.0)
    assert len(limits._buckets) == 20_000
    assert limits.take("sign-in", "busy", 0.0) > 0


@pytest.mark.parametrize(
    ("hosts", "n_clients"),
    [
        (["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:0db8:0001:0002::7"], 1),
        (["2001:db8:1:2::1", "2001:db8:1:3::1"], 2),
        (["192.0.2.1", "192.0.2.2"], 2),
        (["192.0.2.1", "::ffff:192.0.2.1"], 1),
        (["::ffff:192.0.2.1", "::ffff:192.0.2.2"], 2),
        (["fe80::1%eth0", "fe80::2%eth1"], 1),
        (["x" * 60_000], 1),
        ([":" * 60_000], 1),
    ],
)
def test_one_machine_is_one_client_however_many_addresses_it_has(hosts, n_clients):
    found = {client_of(Request({"type": "http", "client": (host, 1)})) for host in hosts}
    assert len(found) == n_clients
    assert max(map(len, found)) <= 64
