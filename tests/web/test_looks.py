"""How the page looks and feels in headless Chromium: drafts, touch, marks without colour, contrast, accessibility."""

import re
from pathlib import Path

import pytest

from crlhf.web import people
from tests.web import test_browser as browsing
from tests.web.conftest import item
from tests.web.live import running

pytestmark = browsing.pytestmark
chromium, project = browsing.chromium, browsing.project


def test_the_whole_draft_survives_a_closed_tab_and_ends_when_it_is_sent(chromium, tmp_path):
    page = browsing.small_page(tmp_path, [item(n) for n in range(2)])
    with running(page) as address, browsing.tab_of(chromium, address) as tab:
        browsing.signed_in(tab, page, address)
        tab.goto("/task")
        tab.keyboard.press("Space")
        tab.keyboard.press("c")
        tab.locator("select").select_option("other")
        tab.locator("input[name=comment]").fill("half a thou")
        tab.close()
        again = tab.context.new_page()
        again.goto(f"{address}/task")
        assert again.locator("input[name=line]:checked").evaluate_all("all => all.map(one => one.value)") == ["2"]
        assert again.locator("select").input_value() == "other"
        assert again.locator("input[name=comment]").input_value() == "half a thou"
        again.keyboard.press("Control+z")
        assert again.locator("input[name=line]:checked").count() == 0
        again.keyboard.press("n")
        again.keyboard.press("Enter")
        again.wait_for_selector("text=1 of 40 judged")
        assert again.locator("input:checked:not(#single-keys)").count() == 0
        assert again.evaluate("Object.keys(localStorage)") == []
        again.go_back()
        again.go_forward()
        again.wait_for_selector("text=1 of 40 judged")  # never the sent form once more


def test_arrows_come_back_to_the_line_that_was_left(chromium, tmp_path):
    page = browsing.small_page(tmp_path, [item(1)])
    with running(page) as address, browsing.tab_of(chromium, address) as tab:
        browsing.signed_in(tab, page, address)
        tab.goto("/task")
        tab.keyboard.press("ArrowDown")
        for leave in ("c", "Tab"):
            tab.keyboard.press(leave)
        tab.keyboard.press("Escape")
        assert tab.evaluate("document.activeElement.value") == "3"
        tab.keyboard.press("ArrowUp")
        assert tab.evaluate("document.activeElement.value") == "2"


def test_fingers_find_large_targets_and_long_lines_scroll_within_the_program(chromium, tmp_path):
    page = browsing.small_page(tmp_path, [item(1, code=f"total = {' + '.join(['number'] * 40)}\nreturn total\n")])
    small = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    with running(page) as address, browsing.tab_of(chromium, address, **small) as tab:
        browsing.signed_in(tab, page, address)
        tab.goto("/task")
        targets = tab.locator("label.line, .nothing, .actions button, .tools a, .tools button:visible, summary")
        boxes = targets.evaluate_all("all => all.map(o => [o.className, o.getBoundingClientRect().height])")
        assert len(boxes) == 9
        assert [box for box in boxes if box[1] < 44] == []
        assert tab.evaluate("document.documentElement.scrollWidth") == 360
        assert tab.evaluate("document.querySelector('.sheet').scrollWidth") > 1000
        number = tab.locator(".no").first
        left = number.bounding_box()["x"]
        tab.evaluate("document.querySelector('.sheet').scrollLeft = 400")
        assert number.bounding_box()["x"] == left  # the number and the mark stay in view
        tab.locator("label.line").first.tap()
        assert tab.locator("#say").inner_text() == "Marked: line 1."
        assert tab.locator("#say").get_attribute("role") == "status"
        submit = tab.locator(".actions .primary").bounding_box()
        assert submit["y"] + submit["height"] <= 740  # in view without scrolling


def test_a_mark_is_told_without_colour(chromium, tmp_path):
    page = browsing.small_page(tmp_path, [item(1)])
    style = (
        "one => [getComputedStyle(one.querySelector('code')).textDecorationStyle, "
        "getComputedStyle(one.querySelector('.box'), '::after').content]"
    )
    with running(page) as address, browsing.tab_of(chromium, address) as tab:
        browsing.signed_in(tab, page, address)
        tab.goto("/task")
        line = tab.locator("label.line").first
        assert line.evaluate(style) == ["solid", "none"]
        line.click()
        assert line.evaluate(style) == ["wavy", '""']  # a wavy line, and a cross drawn into the box


def test_the_name_of_a_character_that_turns_text_is_not_turned_by_it(chromium, tmp_path):
    page = browsing.small_page(tmp_path, [item(1, code='level = "\u202e"\n')])
    with running(page) as address, browsing.tab_of(chromium, address) as tab:
        browsing.signed_in(tab, page, address)
        tab.goto("/task")
        name = tab.locator(".hidden-character")
        look = "one => (style => [style.content, style.display, style.direction])(getComputedStyle(one, '::after'))"
        assert name.evaluate(look) == [
            '"U+202E"',
            "inline-block",
            "ltr",
        ]  # a block of its own: the override ends before


def test_the_page_asks_nobody_else_for_anything(chromium, tmp_path):
    page = browsing.small_page(tmp_path, [item(1)])
    with running(page) as address, browsing.tab_of(chromium, address) as tab:
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        browsing.signed_in(tab, page, address)
        browsing.signed_in(tab, page, address, operator=True)
        for place in ("/task", "/guide", "/operator"):
            tab.goto(place, wait_until="networkidle")
        assert len(asked) >= 6
        assert {url.split("/")[2] for url in asked} == {address.removeprefix("http://")}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_wcag_2_1_aa_and_nothing_overflows_at_360_px(chromium, project, scheme):
    from axe_playwright_python.sync_playwright import Axe

    _, _, page = project
    axe = Axe()
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
    with running(page) as address, browsing.tab_of(chromium, address, color_scheme=scheme) as tab:
        made = browsing.invitation(page)
        tab.context.clear_cookies()

        def check(place):
            for width in (1280, 360):
                tab.set_viewport_size({"width": width, "height": 740})
                assert tab.evaluate("document.documentElement.scrollWidth") <= width, (place, width)
                found = axe.run(tab, options=options)
                assert not found.response["violations"], (place, width, found.generate_report())

        for place in ("/", f"/join/{made.token}", "/operator/sign-in"):
            tab.goto(place)
            check(place)
        browsing.to_the_tasks(tab, made.token)
        tab.keyboard.press("Space")
        check("/task with a mark")
        tab.keyboard.press("c")
        check("/task with kind and comment")
        tab.keyboard.press("Escape")
        tab.keyboard.press("?")
        check("/task with its keys")
        tab.keyboard.press("Escape")
        tab.keyboard.press("n")
        check("/task with no line wrong")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("text=1 of 40 judged")
        page.refresh()
        for place in ("/guide", "/training/1", "/training/3", "/thanks"):
            tab.goto(place)
            check(place)
        check_feedback(tab, page, address, check)
        browsing.signed_in(tab, page, address, operator=True)
        for place in ("/operator", f"/operator/annotators/{made.annotator_id}"):
            tab.goto(place)
            check(place)
        tab.goto("/operator")
        tab.locator("text=Make links").click()
        tab.wait_for_selector(".links")
        check("/operator with a new link")
        tab.locator("text=Pause").click()
        tab.wait_for_selector("text=Paused: nobody is given work.")
        tab.goto("/task")
        check("the pause")


def check_feedback(tab, page, address, check):
    """Somebody else's first practice, answered wrongly: one line missed, one marked for nothing."""
    with page.database.write() as connection:
        made = people.invite(connection, 1, "", page.clock(), "test")[0]
        session = people.join(connection, made.token, page.clock())
        people.read_guide(connection, made.annotator_id, page.clock())
    mine = tab.context.cookies()
    tab.context.add_cookies([{"name": page.cookie("annotator"), "value": session, "url": address}])
    tab.goto("/training/1")
    check("/training/1 unanswered")
    tab.locator("label.line").nth(1).click()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#go-on")
    assert (
        tab.locator(".feedback").inner_text().split("\n")[-1] == "You found 0 of 1 wrong line. You marked 1 right line."
    )
    assert tab.locator(".verdict").all_inner_texts() == ["marked, but right", "wrong line, not marked"]
    check("/training/1 with feedback")
    tab.context.add_cookies(mine)


def test_colours_keep_their_contrast_in_both_schemes():
    """WCAG 2.1, 1.4.3 and 1.4.11, computed from the style sheet's own tokens."""
    css = (Path(__file__).parents[2] / "src/crlhf/web/static/page.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        texts = [(ink, ground) for ink in ("ink", "soft", "accent", "wrong") for ground in ("paper", "surface")]
        texts += [
            (name, ground)
            for name in ("word", "text", "number", "name", "ink", "soft")
            for ground in ("paper", "surface", "sunk", "wrong-soft", "warn-soft")
        ]
        texts += [(name, f"{name}-soft") for name in ("wrong", "right", "warn", "accent")]
        texts += [("on-accent", "accent"), ("on-wrong", "wrong"), ("ink", "accent-soft"), ("ink", "right-soft")]
        for ink, ground in texts:
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        for edge in ("edge", "accent", "wrong"):
            assert contrast(colours[edge], colours["surface"]) >= 3, edge


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
