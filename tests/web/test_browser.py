"""The page in headless Chromium: keyboard only, hostile texts, a narrow screen, accessibility, a lost connection."""

import json
import os
from contextlib import contextmanager, nullcontext

import pytest

from crlhf.params import load_params
from crlhf.stages import page as stage
from crlhf.stages import page_batches
from crlhf.store import Store
from crlhf.web import people, progress
from crlhf.web.answers import submitted
from crlhf.web.database import default_url, open_database
from crlhf.web.lessons import TRAINING
from crlhf.web.page import Page, Settings
from crlhf.web.sources import NO_ESTIMATES, Sources
from tests.web.chromium import MISSING, find_chromium
from tests.web.conftest import RULES, item
from tests.web.live import running
from tests.web.project import make_project

pytestmark = pytest.mark.browser
HOSTILE = [
    '<script>window.ran = "script"</script>',
    "<img src=x onerror=\"window.ran = 'img'\">",
    "\"><svg onload=\"window.ran = 'svg'\"><a href='javascript:window.ran=1'>x</a>",
    "'; window.ran = 1; //</code></label></ol></form><form action=http://evil.example>",
    "{{ 7 * 7 }}{% raw %}&lt;b&gt;&amp;amp;</textarea></title><!--",
]


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import Error, sync_playwright

    path = find_chromium()
    if path is None:
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except Error as error:
            if os.environ.get("CRLHF_CHROMIUM"):
                raise
            pytest.skip(f"{path} does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@contextmanager
def tab_of(chromium, address, **options):
    """A new tab that fails the test when a script breaks or something forbidden is tried."""
    context = chromium.new_context(base_url=address, **options)
    tab = context.new_page()
    tab.set_default_timeout(15_000)
    problems = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield tab
    context.close()
    assert problems == []


@pytest.fixture
def project(tmp_path):
    yield from serving(tmp_path, make_project(tmp_path))


@pytest.fixture
def one_verdict_each(tmp_path, monkeypatch):
    """A project whose round is complete when one annotator has judged its eight programs, and two honeypots."""
    monkeypatch.setenv("CRLHF_TRACKING", "off")
    store = make_project(tmp_path, n_problems=4)
    text = (tmp_path / "params.yaml").read_text()
    text = text.replace("source: simulated ", "source: collected ")
    (tmp_path / "params.yaml").write_text(text.replace("verdicts_per_completion: 5", "verdicts_per_completion: 1"))
    yield from serving(tmp_path, store)


def serving(tmp_path, store):
    database = open_database(default_url(tmp_path))
    page = Page(
        database,
        stage.settings_of(load_params(tmp_path / "params.yaml"), None, "")._replace(refresh_s=0),
        stage.sources(tmp_path),
    )
    page.refresh()
    yield tmp_path, store, page
    database.close()


def invitation(page):
    with page.database.write() as connection:
        return people.invite(connection, 1, "", page.clock(), "test")[0]


def to_the_tasks(tab, token):
    """From the link through guide and training, with the keyboard only."""
    tab.goto(f"/join/{token}")
    tab.wait_for_selector("main button:focus")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/guide")
    tab_to(tab, "main button")
    tab.keyboard.press("Enter")
    for number, lesson in enumerate(TRAINING, 1):
        tab.wait_for_selector(f"form#task[action='/training/{number}']")
        mark_with_keys(tab, lesson.line_nos, lesson.wrong_line_nos)
        tab.keyboard.press("Enter")
        tab.wait_for_selector("#go-on")
        assert tab.locator(".outcome").inner_text() == "Just so."
        tab.keyboard.press("Enter")
    tab.wait_for_selector("form#task[action='/task']")


def tab_to(tab, selector):
    """Press Tab until what `selector` names has the focus."""
    for _ in range(60):
        if tab.evaluate("one => document.activeElement.matches(one)", selector):
            return
        tab.keyboard.press("Tab")
    raise AssertionError(f"Tab never comes to {selector}")


def mark_with_keys(tab, line_nos, wrong):
    if not wrong:
        tab.keyboard.press("n")
    for place, line_no in enumerate(line_nos):
        if line_no in wrong:
            tab.keyboard.press("Space")
        if place < len(line_nos) - 1:
            tab.keyboard.press("ArrowDown")


def shown_code(tab):
    return tab.locator(".task .code code").evaluate_all("all => all.map(one => one.textContent)")


def test_an_invited_annotator_works_with_the_keyboard_only_and_the_pipeline_runs_on_it(chromium, one_verdict_each):
    root, store, page = one_verdict_each
    by_code = {row["code"].rstrip("\n"): row for _, row in store.read("items").iterrows()}
    expected = {}
    with running(page) as address, tab_of(chromium, address) as tab:
        made = invitation(page)
        to_the_tasks(tab, made.token)
        for n in range(10):
            tab.wait_for_selector(f"text={n} of 40 judged")
            row = by_code["\n".join(shown_code(tab))]
            wrong = row["line_nos"][-1:] if n % 3 else []
            mark_with_keys(tab, row["line_nos"], wrong)
            if n == 4:  # undo takes the last mark back, and back again with the key
                tab.keyboard.press("u")
                assert tab.locator("input[name=line]:checked").count() == 0
                tab.keyboard.press("Space")
            if n == 5:
                tab.keyboard.press("c")
                tab_to(tab, "select[name=error_type]")
                tab.keyboard.type("off")
                tab_to(tab, "input[name=comment]")
                tab.keyboard.insert_text("why ‹not›")
                tab.keyboard.press("Escape")
            expected[row["completion_id"]] = {no: "wrong" if no in wrong else "ok" for no in row["line_nos"]}
            tab.keyboard.press("Enter")
        tab.wait_for_url("**/thanks")
        assert "You judged 10 programs" in tab.locator("main").inner_text()
    with page.database.read() as connection:
        found = submitted(connection)
    assert [answer["comment"] for answer in found if answer["comment"]] == ["why ‹not›"]
    assert all(0 < answer["duration_s"] < 60 for answer in found)
    (batch,) = page_batches.collect(root, page.database, page.clock(), print)
    rows = [json.loads(line) for line in batch.read_text().splitlines()]
    raw = {}
    for row in rows:
        assert row["annotator_id"] == made.annotator_id
        raw.setdefault(row["completion_id"], {})[row["line_no"]] = row["verdict"]
    assert raw == expected
    assert sorted({row["error_type"] for row in rows}) == ["", "off by one"]
    run_the_pipeline(root, len(rows), expected)


def run_the_pipeline(root, n_rows, expected):
    """The stages from `annotations` to `rewards`, on the batch alone; the round closes by itself."""
    from crlhf.stages.collection import closing
    from crlhf.stages.runner import execute

    assert closing(Store(root, "r1")) is None
    summaries = {
        name: execute(name, root, print, "r1") for name in ("annotations", "validated", "reliabilities", "rewards")
    }
    assert closing(Store(root, "r1"))["n_done"] == 8
    assert stage.items_to_show(root) == []
    assert summaries["annotations"].metrics["n_rows"] == n_rows
    assert summaries["validated"].metrics["n_validated"] == n_rows
    assert summaries["validated"].metrics["n_quarantined"] == 0
    assert not summaries["rewards"].is_simulated
    store = Store(root, "r1")
    items = store.read("items").set_index("completion_id")
    scores = store.read("scores").set_index("completion_id")
    assert set(scores.index) == {name for name in expected if not items.loc[name, "is_honeypot"]}
    posteriors = store.read("line_posteriors")
    assert all(expected[row.completion_id][row.line_no] in ("ok", "wrong") for row in posteriors.itertuples())
    assert {(row.completion_id, row.line_no) for row in posteriors.itertuples() if row.n_wrong} == {
        (name, no) for name in scores.index for no, verdict in expected[name].items() if verdict == "wrong"
    }


def small_page(tmp_path, shown, **settings):
    database = open_database(f"sqlite:///{tmp_path}/page.sqlite3")
    rules = RULES._replace(honeypot_rate=0.0)
    sources = Sources(lambda: shown, lambda rows: NO_ESTIMATES, lambda annotator_id: nullcontext())
    page = Page(database, Settings(rules, refresh_s=0, **settings), sources)
    page.refresh()
    return page


def signed_in(tab, page, address, *, operator=False):
    with page.database.write() as connection:
        if operator:
            key = people.add_operator(connection, "ada", page.clock(), "test")
            session = people.sign_in(connection, "ada", key, page.clock())
        else:
            made = people.invite(connection, 1, HOSTILE[0], page.clock(), "test")[0]
            session = people.join(connection, made.token, page.clock())
            people.read_guide(connection, made.annotator_id, page.clock())
            for number in (1, 2, 3):
                people.practise(connection, made.annotator_id, number, [], 3, page.clock())
    name = page.cookie("operator" if operator else "annotator")
    tab.context.add_cookies([{"name": name, "value": session, "url": address}])


def test_hostile_texts_in_every_field_neither_run_nor_distort(chromium, tmp_path):
    shown = [
        item(
            n,
            code=f"x = 1\n{text}\n# {text}\n",
            description=text,
            examples=(text, f"f({text!r})"),
            round_name=text[:40],
            problem_id=text[:60],
            language=text[:20],
            line_nos=(1, 2),
        )
        for n, text in enumerate(HOSTILE)
    ]
    by_description = {one.description: one for one in shown}
    page = small_page(tmp_path, shown)
    with running(page) as address, tab_of(chromium, address) as tab:
        signed_in(tab, page, address)
        for _ in HOSTILE:
            tab.goto("/task")
            one = by_description[tab.locator(".description").evaluate("one => one.textContent")]
            assert shown_code(tab) == one.code.split("\n")[:-1]
            examples = tab.locator(".examples code").evaluate_all("all => all.map(one => one.textContent)")
            assert examples == list(one.examples)
            assert tab.evaluate("window.ran") is None
            assert tab.locator("main form[action]").count() == 1
            assert tab.locator("main img, main svg, main script, main a").count() == 0
            tab.keyboard.press("Space")
            tab.keyboard.press("c")
            tab.locator("input[name=comment]").fill(one.description)
            with tab.expect_navigation():
                tab.keyboard.press("Enter")
        with page.database.read() as connection:
            assert sorted(answer["comment"] for answer in submitted(connection)) == sorted(HOSTILE)
        signed_in(tab, page, address, operator=True)
        tab.goto("/operator")
        assert tab.locator("th .note").inner_text() == HOSTILE[0]  # the operator's own label
        assert tab.evaluate("window.ran") is None
        tab.locator("th a").first.click()
        assert HOSTILE[0] in tab.locator("main").inner_text()
        assert tab.evaluate("window.ran") is None


def test_text_that_turns_round_is_shown_as_it_is_stored(chromium, tmp_path):
    code = 'level = "user\u202e \u2066# admin\u2069 \u2066"\nx\u200b = 1\n'
    page = small_page(tmp_path, [item(1, code=code)])
    with running(page) as address, tab_of(chromium, address) as tab:
        signed_in(tab, page, address)
        tab.goto("/task")
        assert shown_code(tab) == code.split("\n")[:-1]
        names = tab.locator(".hidden-character").evaluate_all("all => all.map(one => one.dataset.code)")
        assert names == ["U+202E", "U+2066", "U+2069", "U+2066", "U+200B"]
        lefts = tab.locator(".hidden-character").evaluate_all("all => all.map(o => o.getBoundingClientRect().left)")
        assert lefts[:4] == sorted(lefts[:4])  # from left to right, as stored


def test_marks_survive_a_lost_connection_and_a_reload(chromium, tmp_path):
    page = small_page(tmp_path, [item(n) for n in range(2)])
    with running(page) as address, tab_of_flaky(chromium, address) as tab:
        signed_in(tab, page, address)
        tab.goto("/task")
        tab.keyboard.press("Space")
        tab.reload()
        assert tab.locator("input[name=line]:checked").count() == 1
        tab.context.set_offline(True)
        tab.keyboard.press("Enter")
        tab.wait_for_selector("text=No connection. Your answer is kept here")
        tab.context.set_offline(False)
        tab.wait_for_selector("text=1 of 40 judged")
    with page.database.read() as connection:
        assert [answer["wrong_line_nos"] for answer in submitted(connection)] == [[2]]


def test_the_time_in_view_survives_a_reload(chromium, tmp_path):
    page = small_page(tmp_path, [item(n) for n in range(2)])
    with running(page) as address, tab_of(chromium, address) as tab:
        signed_in(tab, page, address)
        tab.goto("/task")
        for keys in ((), ("Space",)):  # looked at only, then marked too
            tab.wait_for_timeout(700)
            for key in keys:
                tab.keyboard.press(key)
            tab.reload()
        tab.keyboard.press("Enter")
        tab.wait_for_selector("text=1 of 40 judged")
        assert tab.evaluate("Object.keys(localStorage)") == []  # leaving the page did not make a draft of what was sent
    with page.database.read() as connection:
        (answer,) = submitted(connection)
    assert answer["wrong_line_nos"] == [2]
    assert 1.4 <= answer["duration_s"] <= answer["submitted_at"] - answer["started_at"] + 0.001


@pytest.mark.parametrize(
    ("in_its_place", "said"),
    [
        (lambda route: route.fulfill(status=302, headers={"location": "/"}), "This page does not answer."),
        (lambda route: route.fulfill(status=200, body="under maintenance"), "This page does not answer."),
        (lambda route: None, "No connection."),
    ],
    ids=["redirect", "page", "silence"],
)
def test_what_a_proxy_says_is_no_receipt_and_silence_ends(chromium, tmp_path, in_its_place, said):
    """The draft stays until the page itself has the answer; then the same answer is sent again by itself."""
    page = small_page(tmp_path, [item(n) for n in range(2)])
    with running(page) as address, tab_of_flaky(chromium, address) as tab:
        tab.add_init_script(
            "const own = AbortSignal.timeout; AbortSignal.timeout = (ms) => own.call(AbortSignal, ms / 20)"
        )
        signed_in(tab, page, address)
        # before the page is there: a frame that is loaded may send one more request past a new route
        tab.route("**/task", lambda route: in_its_place(route) if route.request.method == "POST" else route.continue_())
        tab.goto("/task")
        tab.keyboard.press("Space")
        tab.keyboard.press("Enter")
        tab.wait_for_selector(f"text={said} Your answer is kept here")
        assert tab.url == f"{address}/task"
        assert tab.evaluate("Object.keys(localStorage).length") == 1
        with page.database.read() as connection:
            assert progress.n_answers(connection) == 0
        tab.unroute_all(behavior="ignoreErrors")
        tab.wait_for_selector("text=1 of 40 judged")
        assert tab.evaluate("Object.keys(localStorage)") == []
    with page.database.read() as connection:
        assert [answer["wrong_line_nos"] for answer in submitted(connection)] == [[2]]


@contextmanager
def tab_of_flaky(chromium, address):
    context = chromium.new_context(base_url=address)
    tab = context.new_page()
    yield tab
    context.close()


def test_the_form_works_without_scripts(chromium, tmp_path):
    page = small_page(tmp_path, [item(n) for n in range(2)])
    with running(page) as address, tab_of(chromium, address, java_script_enabled=False) as tab:
        signed_in(tab, page, address)
        tab.goto("/task")
        tab.locator("input[name=line]").nth(1).check(force=True)
        tab.locator("button.primary").first.click()
        tab.wait_for_selector("text=1 of 40 judged")
    with page.database.read() as connection:
        assert [answer["wrong_line_nos"] for answer in submitted(connection)] == [[3]]


def test_nothing_is_sent_before_it_is_said_whether_a_line_is_wrong(chromium, tmp_path):
    page = small_page(tmp_path, [item(1)])
    with running(page) as address, tab_of(chromium, address) as tab:
        signed_in(tab, page, address)
        tab.goto("/task")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("text=Mark the wrong lines, or say that no line is wrong")
        tab.keyboard.press("?")
        tab.locator("#single-keys").uncheck()
        tab.keyboard.press("Escape")
        tab.keyboard.press("n")
        assert not tab.locator("input[name=nothing]").is_checked()
        with page.database.read() as connection:
            assert progress.n_answers(connection) == 0
