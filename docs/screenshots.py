"""Pictures of the annotation page for README and docs: a page on a temporary project, in headless Chromium.

Programs are references of the starter set, some with one fault put in. The annotators are simulated and called so
wherever they appear; what the operator's page says about them is computed by the project's own stages.

    python -m docs.screenshots [--out docs/images] [--only task-light ...] [--all]

Needs Debian's `chromium`, `fonts-inter` and `fonts-jetbrains-mono`, and the package playwright; run it from
the project's folder. `--all` adds pages and sizes that the docs do not show, for looking at them.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from crlhf.crowd.faults import inject_faults
from crlhf.crowd.items import item_row, items_frame
from crlhf.evaluation.problems import load_starter
from crlhf.languages import python
from crlhf.lines import sha256_text
from crlhf.params import load_params
from crlhf.stages import page as stage
from crlhf.store import Store, records
from crlhf.web import assignment, people
from crlhf.web.answers import Submission, submit
from crlhf.web.database import default_url, open_database
from crlhf.web.lessons import TRAINING
from crlhf.web.page import Page
from tests.web.live import running

ROOT = Path(__file__).resolve().parents[1]
SEED = 20250315
START = 1_741_942_800.0
"""The clock of the pictures begins here: a morning in March 2025."""

SHOWN_PROBLEM = "Thermostat"
MOST_BYTES = 200_000


class Kind(NamedTuple):
    """How simulated annotators of a kind answer: rates, and seconds a program in the mean."""

    name: str
    n: int
    sensitivity: float
    specificity: float
    seconds: float
    n_answers: int


CROWD = (
    Kind("careful", 4, 0.94, 0.985, 34.0, 40),
    Kind("average", 5, 0.74, 0.95, 26.0, 29),
    Kind("lazy", 1, 0.02, 0.998, 7.0, 24),
    Kind("random", 1, 0.5, 0.5, 12.0, 22),
    Kind("too fast", 1, 0.35, 0.9, 0.7, 20),
)


class Clock:
    """A clock that is set by hand."""

    now = START

    def __call__(self) -> float:
        return self.now


def write_project(root: Path) -> dict[str, set[int]]:
    """The tables that the page reads; completion_id to the lines that are wrong by construction."""
    shutil.copy(ROOT / "params.yaml", root / "params.yaml")
    store = Store(root, "r1")
    problems = load_starter(ROOT / "data/starter/problems.jsonl")
    store.write("problems", problems)
    rows = records(problems)
    rows.sort(key=lambda row: SHOWN_PROBLEM not in row["prompt"])
    wrong: dict[str, set[int]] = {}
    tasks, honeypots = [], []
    for number, row in enumerate(rows[:34]):
        faults = inject_faults(row["reference"], SEED + number, 2, python)
        versions = [(fault.code, {fault.line_no}) for fault in faults] + [(row["reference"], set[int]())]
        for version, (code, lines) in enumerate(versions):
            name = sha256_text(f"{number} {version}")[:16]
            wrong[name] = lines
            one = item_row(name, row["problem_id"], code, python)
            if number < 22:
                tasks.append(one)
            elif version != 1:
                known = {"is_honeypot": True, "wrong_line_nos": sorted(lines), "origin": "reference"}
                honeypots.append(one | known | {"fault_kind": "one fault" if lines else "none"})
    store.write("items", pd.concat([items_frame(tasks), items_frame(honeypots)], ignore_index=True))
    return wrong


def newcomer(page: Page, label: str) -> tuple[str, str]:
    """Someone who has done guide and training: id and session."""
    with page.database.write() as connection:
        made = people.invite(connection, 1, label, SEED, page.clock(), "operator:ada")[0]
        session = people.join(connection, made.token, page.clock())
        assert session is not None
        people.read_guide(connection, made.annotator_id, page.clock())
        for number in range(1, len(TRAINING) + 1):
            people.practise(connection, made.annotator_id, number, [], len(TRAINING), page.clock())
    return made.annotator_id, session


def answer(page: Page, clock: Clock, me: str, lines_of: Callable[[Any], tuple[int, ...]], seconds: float) -> bool:
    """Answer the next item as `lines_of` says; False when none is left."""
    rules = page.settings.rules
    with page.database.write() as connection:
        given = assignment.next_task(connection, me, rules, clock())
        if given is None:
            return False
        clock.now += seconds
        marked = lines_of(given.item)
        sent = Submission(given.lease_id, secrets.token_hex(16), marked, is_nothing_wrong=not marked, active_s=seconds)
        submit(connection, me, sent, rules, clock())
        who = {"annotator_id": me, "work_started_at": None, "seen_at": None}
        people.touch(connection, who, clock())
    return True


def simulate(page: Page, clock: Clock, wrong: dict[str, set[int]]) -> None:
    """Let every simulated annotator work, one after the other."""
    rng = np.random.default_rng(SEED)
    for kind in CROWD:
        for number in range(1, kind.n + 1):
            clock.now = START + rng.uniform(0, 4000)
            me, _ = newcomer(page, f"simulated: {kind.name} {number}")

            def lines_of(item: Any, kind: Kind = kind) -> tuple[int, ...]:
                is_wrong = wrong[item["completion_id"]]
                rates = {no: kind.sensitivity if no in is_wrong else 1 - kind.specificity for no in item["line_nos"]}
                return tuple(no for no, rate in rates.items() if rng.uniform() < rate)

            for _ in range(kind.n_answers):
                if not answer(page, clock, me, lines_of, kind.seconds * rng.lognormal(0, 0.35)):
                    break
    clock.now = START + 9000


@contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise SystemExit("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--font-render-hinting=none"])
        yield opened
        opened.close()


class Camera:
    """Takes the pictures: a fresh browser context each, signed in as asked."""

    def __init__(self, opened: Any, page: Page, clock: Clock, address: str, out: Path) -> None:
        self.opened, self.page, self.clock, self.address, self.out = opened, page, clock, address, out
        self.sizes: list[tuple[str, int]] = []

    @contextmanager
    def tab(
        self,
        session: str | None = None,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        role: str = "annotator",
        touch: bool = False,
    ) -> Iterator[Any]:
        context = self.opened.new_context(
            base_url=self.address,
            viewport={"width": width, "height": height},
            device_scale_factor=2 if width < 500 else 1.5,
            color_scheme="dark" if dark else "light",
            has_touch=touch,
            is_mobile=touch,
        )
        if session:
            context.add_cookies([{"name": self.page.cookie(role), "value": session, "url": self.address}])
        yield context.new_page()
        context.close()

    def shoot(self, tab: Any, name: str, *, whole: bool = False) -> None:
        path = self.out / f"page-{name}.png"
        tab.wait_for_timeout(150)
        tab.screenshot(path=path, full_page=whole)
        shrink(path)
        self.sizes.append((path.name, path.stat().st_size))


def shrink(path: Path) -> None:
    """Fewer colours, where the file would be too large without."""
    from PIL import Image

    if path.stat().st_size > MOST_BYTES:
        with Image.open(path) as image:
            few = image.convert("RGB").quantize(
                128, method=Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE
            )
            few.save(path, optimize=True)


def worker(page: Page, clock: Clock, wrong: dict[str, set[int]]) -> str:
    """The session of one more simulated annotator, whose open item is the program of the pictures."""
    me, session = newcomer(page, "simulated: for the pictures")
    rules, shown = page.settings.rules, page.sources.items()
    wanted = [one for one in shown if SHOWN_PROBLEM in one.description and wrong[one.completion_id]]
    with page.database.write() as connection:
        assignment.sync_items(connection, [one for one in shown if one not in wanted], rules)
    for _ in range(14):
        answer(page, clock, me, lambda item: tuple(sorted(wrong[item["completion_id"]])), 31.0)
    with page.database.write() as connection:
        assignment.sync_items(connection, wanted[:1], rules)
        assert assignment.next_task(connection, me, rules, clock()) is not None
        assignment.sync_items(connection, shown, rules)
    return session


def mark(tab: Any, code_part: str) -> None:
    """Mark the first line that holds `code_part`, with the keyboard, and stay there."""
    tab.locator("label.line", has_text=code_part).first.locator("input").focus()
    tab.keyboard.press("Space")


def take(camera: Camera, wanted: Callable[[str], bool], wrong: dict[str, set[int]], session: str) -> None:
    page, clock = camera.page, camera.clock
    with page.database.read() as connection:
        me = people.annotator_of(connection, session, clock())
    assert me is not None
    with page.database.write() as connection:
        given = assignment.next_task(connection, me["annotator_id"], page.settings.rules, clock())
        people.touch(connection, {**me, "work_started_at": clock() - 754, "seen_at": clock() - 40}, clock())
    assert given is not None
    (faulty,) = wrong[given.item["completion_id"]]
    shots = {
        "task-light": (1280, 700, False),
        "task-dark": (1280, 700, True),
        "task-phone": (360, 740, False),
        "task-phone-dark": (360, 740, True),
        "task-middle": (900, 800, False),
    }
    for name, (width, height, dark) in shots.items():
        if wanted(name):
            with camera.tab(session, width=width, height=height, dark=dark, touch=width < 500) as tab:
                tab.goto("/task")
                box = tab.locator(f"input[name=line][value='{faulty}']")
                box.focus()
                tab.keyboard.press("Space")
                if width < 500:
                    tab.evaluate("scrollTo(0, document.querySelector('.work').offsetTop - 12)")
                camera.shoot(tab, name)
                if width < 500:
                    camera.shoot(tab, f"{name}-whole", whole=True) if wanted("whole") else None
    for name, key in (("notes", "c"), ("keys", "?")):
        if wanted(name):
            with camera.tab(session, width=1280, height=820) as tab:
                tab.goto("/task")
                tab.keyboard.press("Space")
                tab.keyboard.press(key)
                camera.shoot(tab, name)
    if wanted("thanks"):
        with camera.tab(session, width=1080, height=600) as tab:
            tab.goto("/thanks")
            camera.shoot(tab, "thanks")
    for name, dark in (("guide", False), ("guide-dark", True)):
        if wanted(name):
            with camera.tab(session, width=1080, height=1000, dark=dark) as tab:
                tab.goto("/guide")
                camera.shoot(tab, name, whole=name != "guide" or wanted("whole"))
    for name, dark, width in (("training", False, 1280), ("training-dark", True, 1280), ("training-phone", False, 360)):
        if wanted(name):
            with page.database.write() as connection:
                made = people.invite(connection, 1, "simulated: in training", SEED, clock(), "operator:ada")[0]
                learner = people.join(connection, made.token, clock())
                people.read_guide(connection, made.annotator_id, clock())
                for number in (1, 2):
                    people.practise(connection, made.annotator_id, number, [], len(TRAINING), clock())
            with camera.tab(learner, width=width, height=800, dark=dark, touch=width < 500) as tab:
                tab.goto("/training/3")
                mark(tab, "and number")
                tab.locator("label.line", has_text="found.append").locator("input").check()
                tab.locator("form.task button.primary").click()
                tab.wait_for_selector("#go-on")
                camera.shoot(tab, name, whole=width < 500)
    operate(camera, wanted)


def operate(camera: Camera, wanted: Callable[[str], bool]) -> None:
    page, clock = camera.page, camera.clock
    with page.database.write() as connection:
        key = people.add_operator(connection, "ada", clock(), "command line")
        session = people.sign_in(connection, "ada", key, clock())
        token = people.invite(connection, 1, "simulated: invited", SEED, clock(), "operator:ada")[0].token
    assert session is not None
    for name, dark, width in (("operator", False, 1280), ("operator-dark", True, 1280), ("operator-phone", False, 360)):
        if wanted(name):
            with camera.tab(session, width=width, height=1200, dark=dark, role="operator") as tab:
                tab.goto("/operator")
                camera.shoot(tab, name, whole=wanted("whole") or name != "operator")
    for name, dark in (("annotator", False), ("annotator-dark", True)):
        if wanted(name):
            with camera.tab(session, width=1280, height=800, dark=dark, role="operator") as tab:
                tab.goto("/operator")
                row = tab.locator("tbody tr", has_text="simulated: average 1").locator("th a").first
                row.click()
                camera.shoot(tab, name, whole=True)
    for name, path in (("join", f"/join/{token}"), ("front", "/"), ("sign-in", "/operator/sign-in"), ("missing", "/x")):
        if wanted(name):
            with camera.tab(width=1080, height=760) as tab:
                tab.goto(path)
                camera.shoot(tab, name)


SHOWN = ("task-light", "task-dark", "task-phone", "guide", "training", "operator")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    parser.add_argument("--only", nargs="*", default=SHOWN)
    parser.add_argument("--all", action="store_true")
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        wrong = write_project(root)
        params = load_params(root / "params.yaml")
        settings = stage.settings_of(params, None, "https://annotate.example.org")._replace(refresh_s=0)
        settings = settings._replace(rules=settings.rules._replace(pay_per_hour=15.0, lease_s=1e6))
        page = Page(open_database(default_url(root)), settings, stage.sources(root), clock)
        page.refresh()
        session = worker(page, clock, wrong)
        simulate(page, clock, wrong)
        page.refresh()
        with running(page) as address, browser() as opened:
            camera = Camera(opened, page, clock, address, words.out)
            take(camera, lambda name: words.all or name in words.only, wrong, session)
        page.database.close()
    for name, size in camera.sizes:
        print(f"{name:<28} {size / 1000:6.0f} kB")


if __name__ == "__main__":
    main()
