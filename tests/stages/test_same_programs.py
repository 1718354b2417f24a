"""Programs are compared by their hashes, not by their ids alone."""

import pandas as pd

from crlhf.stages.same_programs import other_programs


def table(**programs):
    return pd.DataFrame({"completion_id": list(programs), "code_sha256": list(programs.values())})


def test_a_program_that_changed_or_is_not_there_is_another_one():
    completions = table(a="1", b="2", c="3")
    assert other_programs(completions, table(c="3", a="1")) == []
    assert other_programs(completions, table(c="3", b="9", a="9")) == ["a", "b"]
    assert other_programs(completions, table(d="3")) == ["d"]
    assert other_programs(completions, table()) == []
