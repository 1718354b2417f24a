"""Data Docs: the pages of Great Expectations' renderers as a small static site that reads without a network.

The sections are rendered by Great Expectations; its page frame is left out, for it loads styles, scripts and a logo
from other servers and prints the time of the run. What remains depends on the results only: the random ids that the
renderers put in are numbered instead, so equal results give equal bytes.
"""

from __future__ import annotations

import copy
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crlhf.schema import Check
from crlhf.store import atomic_write

if TYPE_CHECKING:
    from crlhf.annotations.suite import Outcome

_RANDOM_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; }
h5 { font-size: 1.05rem; margin: 1.5rem 0 .3rem; }
table { border-collapse: collapse; margin: .4rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem; border-bottom: 1px solid #ddd; }
.badge { background: #eee; border-radius: .3rem; padding: 0 .3rem; }
.passed, .text-success { color: #18794e; }
.failed, .text-danger { color: #b42318; }
.warned, .text-warning { color: #9a6700; }
i.fas { font-style: normal; }
.fa-check-circle::before { content: "\\2714"; }
.fa-times::before { content: "\\2718"; }
.fa-exclamation-triangle::before, .fa-exclamation-circle::before { content: "!"; }
.cooltip .top { display: none; }
.cooltip:hover .top { display: inline; color: #555; padding-left: .5rem; }
@media (prefers-color-scheme: dark) {
  body { background: #16181b; color: #ddd; }
  th, td { border-color: #444; }
  .badge { background: #333; }
  a { color: #7ab7ff; }
  .passed, .text-success { color: #4cc38a; }
  .failed, .text-danger { color: #ff8a80; }
  .warned, .text-warning { color: #e2b93b; }
}
"""


def write_data_docs(folder: Path, outcomes: Sequence[Outcome], checks: Sequence[Check]) -> None:
    """Write index.html with all checks and a page for each table that was validated; pages of an earlier run go."""
    tables = list(dict.fromkeys(outcome.table for outcome in outcomes))
    links = {outcome.check: outcome.table for outcome in outcomes}
    pages = {"index": _page("Data Docs: raw annotations", _index(checks, links))}
    for table in tables:
        sections = _sections([outcome.result for outcome in outcomes if outcome.table == table])
        pages[table] = _page(f"Data Docs: {table}", f'<p><a href="index.html">All checks</a></p>\n{sections}')
    for old in folder.glob("*.html"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        with atomic_write(folder / f"{name}.html", "w") as file:
            file.write(text)


def _page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    body = f"<h1>{html.escape(title)}</h1>\n{body}"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _index(checks: Sequence[Check], links: dict[str, str]) -> str:
    rows = []
    for check in checks:
        word = "passed" if check.passed else "failed" if check.severity == "error" else "warned"
        name = html.escape(check.name)
        if check.name in links:
            name = f'<a href="{links[check.name]}.html">{name}</a>'
        cells = (f'<span class="{word}">{word}</span>', name, check.severity, str(check.n_unexpected),
                 html.escape(check.description))  # fmt: skip
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = ("Outcome", "Check", "Severity", "Unexpected", "Rule")
    header = "".join(f"<th>{head}</th>" for head in heads)
    return f"<table><thead><tr>{header}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table>"


def _sections(results: Sequence[Any]) -> str:
    """The validation results of one table as Great Expectations renders them, without its overview and page frame."""
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaSectionView

    whole = ExpectationSuiteValidationResult(
        success=all(result.success for result in results),
        results=[_escaped(result) for result in results],
        suite_name="",
        meta={},
    )
    document = ValidationResultsPageRenderer().render(whole)
    view = DefaultJinjaSectionView()
    texts = [
        view.render({"section": section.to_json_dict(), "section_loop": {"index": index}})
        for index, section in enumerate(document.sections, 1)
        if index > 1  # the first is the overview: the name and the time of the run
    ]
    seen: dict[str, str] = {}
    return _RANDOM_ID.sub(lambda found: seen.setdefault(found[0], f"id-{len(seen) + 1}"), "\n".join(texts))


def _escaped(result: Any) -> Any:
    """A copy of a result whose values are safe in a page: the renderers put values from the data in as they are."""
    safe = copy.deepcopy(result)
    safe.result = _escape(safe.result)
    return safe


def _escape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return html.escape(value) if isinstance(value, str) else value
