import pytest

from crlhf.errors import ParamsError
from crlhf.evaluation.protocols import PROTOCOLS, Protocol, get_protocol, prompt_helpers

HEADER = {
    "problem_id": "humaneval/0",
    "source": "humaneval",
    "language": "python",
    "kind": "header",
    "prompt": '\nimport math\n\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    """ Add one. {x} """\n',
    "entry_point": "f",
    "setup_code": "",
    "reference": "",
    "tests": ["def check(candidate):\n    assert candidate(1) == 2\n\ncheck(f)\n"],
}


def description(number=11, source="mbpp", **changes):
    row = {
        "problem_id": f"{source}/{number}",
        "source": source,
        "language": "python",
        "kind": "description",
        "prompt": f"Write task {number}.",
        "entry_point": "f",
        "setup_code": "import math",
        "reference": f"def f(x):\n    return {number}",
        "tests": [f"assert f(0) == {number}", f"assert f(1) == {number}", "assert f(2) > 0"],
    }
    return {**row, **changes}


def test_bigcode_strips_the_prompt_and_human_eval_does_not():
    assert get_protocol("humaneval/bigcode-v1").model_input(HEADER) == HEADER["prompt"].strip()
    assert get_protocol("humaneval/human-eval-v1").model_input(HEADER) == HEADER["prompt"]


def test_incoder_shows_the_description_and_the_first_test():
    expected = '"""\nWrite task 11.\nassert f(0) == 11\n"""\n'
    assert get_protocol("mbpp/incoder0-v1").model_input(description()) == expected


def test_the_original_prompt_shows_three_solved_problems():
    shots = [description(number) for number in (2, 3, 4)]
    text = get_protocol("mbpp/orig3-v1").model_input(description(), shots)
    one = (
        "You are an expert Python programmer, and here is your task: Write task {n}. Your code should pass these "
        "tests:\n\nassert f(0) == {n}\nassert f(1) == {n}\nassert f(2) > 0\n[BEGIN]\n"
    )
    solved = "".join((one + "def f(x):\n    return {n}\n[DONE]\n\n").replace("{n}", str(n)) for n in (2, 3, 4))
    assert text == solved + one.replace("{n}", "11")


def test_other_shots_than_the_named_ones_are_refused():
    with pytest.raises(ValueError, match="mbpp/2"):
        get_protocol("mbpp/orig3-v1").model_input(description(), [description(n) for n in (2, 4, 3)])
    with pytest.raises(ValueError, match="in this order"):
        get_protocol("mbpp/incoder0-v1").model_input(description(), [description(2)])


def test_the_earliest_stop_in_the_completion_cuts():
    bigcode = get_protocol("humaneval/bigcode-v1")
    assert bigcode.cut("    return x\nprint(f(1))\ndef g():\n") == "    return x"
    assert bigcode.cut("    return 1\n# done\nif x:") == "    return 1"
    assert bigcode.cut("    return 'class def'\n    # fine\n") == "    return 'class def'\n    # fine\n"
    assert get_protocol("mbpp/incoder0-v1").cut("def f(x):\n    return 1\nassert f(1)") == "def f(x):\n    return 1"
    assert (
        get_protocol("mbpp/incoder0-v1").cut("def g():\n  pass\ndef f(x):\n  pass")
        == "def g():\n  pass\ndef f(x):\n  pass"
    )


@pytest.mark.parametrize(
    ("protocol_id", "stops"),
    [
        ("humaneval/bigcode-v1", ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>")),
        ("mbpp/incoder0-v1", ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```")),
        ("mbpp/orig3-v1", ("[DONE]",)),
        ("humaneval/human-eval-v1", ()),
    ],
)
def test_stops_are_those_of_the_harness(protocol_id, stops):
    assert get_protocol(protocol_id).stops == stops


def test_a_header_program_is_the_protocols_prompt_and_the_completion():
    program = get_protocol("humaneval/bigcode-v1").program(HEADER, "\n    return helper(x) + 1", "p1")
    assert program.code == HEADER["prompt"].strip() + "\n    return helper(x) + 1"
    assert program.program_id == "p1"
    assert program.entry_point == "f"
    assert program.tests == tuple(HEADER["tests"])


def test_what_the_prompt_defines_beside_the_entry_point_is_the_tests_own():
    program = get_protocol("humaneval/bigcode-v1").program(HEADER, "", "p1")
    assert program.setup_code == "import math\ndef helper(x):\n    return x"
    assert prompt_helpers("def f(", "f") == ""


def test_incoder_runs_the_setup_of_other_sources_only():
    incoder = get_protocol("mbpp/incoder0-v1")
    assert incoder.program(description(), "def f(x): pass", "p").setup_code == ""
    assert incoder.program(description(source="starter"), "def f(x): pass", "p").setup_code == "import math"
    assert get_protocol("mbpp/orig3-v1").program(description(), "def f(x): pass", "p").setup_code == "import math"


def test_a_protocol_refuses_problems_of_the_other_kind():
    with pytest.raises(ParamsError, match="kind description"):
        get_protocol("humaneval/bigcode-v1").model_input(description())


def test_a_template_that_needs_more_tests_than_there_are_says_so():
    shots = [description(number) for number in (2, 3, 4)]
    with pytest.raises(ParamsError, match=r"more tests than mbpp/11 has \(1\)"):
        get_protocol("mbpp/orig3-v1").model_input(description(tests=["assert f(0)"]), shots)


def test_a_chat_begins_the_answer_for_the_policy():
    seen = []

    def template(messages):
        seen.extend(messages)
        return "".join(f"<{m['role']}>{m['content']}</{m['role']}>" for m in messages)

    protocol = get_protocol("humaneval/evalplus-chat-v1")
    text = protocol.model_input(HEADER, chat_template=template)
    assert text == (
        "<user>Please provide a self-contained Python script that solves the following problem in a markdown code "
        f"block:\n```\n{HEADER['prompt'].strip()}\n```\n</user><assistant>Below is a Python script with a "
        "self-contained function that solves the problem and passes corresponding tests:\n```python\n"
    )
    assert [m["role"] for m in seen] == ["user", "assistant"]
    assert protocol.model_input(HEADER) == HEADER["prompt"].strip() + "\n"
    assert protocol.cut("def f(x):\n\treturn 1\n```\nDone.", is_chat=True) == "def f(x):\n    return 1"
    assert protocol.program(HEADER, "def f(x): pass", "p", is_chat=True).code == "def f(x): pass"


def test_the_hash_follows_every_setting_and_ignores_the_description():
    from dataclasses import replace

    protocol = get_protocol("mbpp/incoder0-v1")
    assert replace(protocol, description="other").sha256 == protocol.sha256
    changes = [
        {"stops": protocol.stops[1:]},
        {"timeout_s": 3.5},
        {"strips_prompt": True},
        {"template": protocol.template + "\n"},
        {"sampling": protocol.sampling._replace(temperature=0.2)},
    ]
    hashes = {replace(protocol, **change).sha256 for change in changes} | {protocol.sha256}
    assert len(hashes) == len(changes) + 1


def test_hashes_of_shipped_protocols_never_change():
    assert {name: protocol.sha256[:12] for name, protocol in sorted(PROTOCOLS.items())} == HASHES


def test_an_unknown_protocol_is_answered_with_the_known_ones():
    with pytest.raises(ParamsError, match="humaneval/bigcode-v1"):
        get_protocol("humaneval/nothing")
    assert all(isinstance(protocol, Protocol) and name == protocol.id for name, protocol in PROTOCOLS.items())


HASHES = {
    "humaneval+/as-given-v1": "0e653218e502",
    "humaneval+/evalplus-chat-v1": "f35359710636",
    "humaneval/bigcode-v1": "d977f6c6f923",
    "humaneval/evalplus-chat-v1": "7e33b57acbe1",
    "humaneval/human-eval-v1": "5d015b2c60a2",
    "humaneval/paper-crlhf-v1": "1c5a36b56eb8",
    "mbpp+/as-given-v1": "d75ac2b17f7b",
    "mbpp+/evalplus-chat-v1": "df110230b4ae",
    "mbpp/as-given-v1": "b2736c252cd3",
    "mbpp/evalplus-chat-v1": "ec78cf83d6ba",
    "mbpp/incoder0-v1": "b0295c1a4f47",
    "mbpp/orig3-v1": "1e27903ad525",
    "mbpp/paper-crlhf-v1": "97dff5c20ab3",
    "sql/as-given-v1": "1d7b4644a491",
    "sql/sqlite-v1": "294a08a5bf8a",
}
