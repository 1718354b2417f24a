"""Label Studio: the programs as tasks to annotate, and a labelling configuration that is ready to paste.

Sources: docs/source/tags/{paragraphs,paragraphlabels}.md of HumanSignal/label-studio. Each line of a program is a
paragraph, so that what comes back names lines, whatever a browser does to characters. Leading blanks become no-break
spaces, which a page keeps; the exact code goes along as `code`, and the import checks it.

Nothing in a task says whether it is a honeypot: all have the same fields, in the order of their ids, which are digits
of a hash, and the numbers of a task are the platform's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from crlhf.annotations.exporters.contract import Part
from crlhf.lines import split_lines
from crlhf.store import records

if TYPE_CHECKING:
    import pandas as pd

CONFIG = """<View>
  <Style>
    .crlhf-code { font-family: ui-monospace, monospace; white-space: pre-wrap; }
  </Style>
  <Header value="What the program should do"/>
  <Text name="task" value="$task"/>
  <Header value="Mark every line that is wrong; submit without a mark when all lines are right"/>
  <ParagraphLabels name="wrong" toName="code">
    <Label value="WRONG" background="#d64545"/>
  </ParagraphLabels>
  <View className="crlhf-code">
    <Paragraphs name="code" value="$lines" layout="dialogue" nameKey="line_no" textKey="text"/>
  </View>
  <Choices name="verdict" toName="code" choice="single" showInline="true">
    <Choice value="No wrong line"/>
  </Choices>
</View>
"""


class LabelStudioTasks:
    """What annotators are to be shown, as tasks for Label Studio."""

    name, tables, rows = "label-studio", ("items", "problems"), None

    def parts(self, tables: Mapping[str, pd.DataFrame]) -> list[Part]:
        """`tasks.json` and `labeling-config.xml`."""
        tasks = _tasks(tables["items"], tables["problems"])
        return [Part("tasks.json", ".json", tasks), Part("labeling-config.xml", "-config.xml", iter([CONFIG]))]


def _tasks(items: pd.DataFrame, problems: pd.DataFrame) -> Iterator[str]:
    prompts = dict(zip(problems["problem_id"], problems["prompt"], strict=True))
    before = "[\n"
    for item in records(items.sort_values("completion_id", kind="stable")):
        yield before + json.dumps(_task(item, prompts.get(item["problem_id"], "")), ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _task(item: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    lines = [
        {"line_no": str(line_no), "text": _shown(text)} for line_no, text in enumerate(split_lines(item["code"]), 1)
    ]
    return {
        "data": {
            "completion_id": item["completion_id"],
            "code_sha256": item["code_sha256"],
            "task": prompt,
            "code": item["code"],
            "lines": lines,
        }
    }


def _shown(line: str) -> str:
    """A line for a page: its indentation in no-break spaces; a blank line is one, for a paragraph must have a text."""
    text = line.removesuffix("\r").expandtabs(4)
    bare = text.lstrip(" ")
    return "\u00a0" * (len(text) - len(bare)) + bare or "\u00a0"
