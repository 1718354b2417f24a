from crlhf.evaluation import sandbox
from crlhf.schema import Program

LIMITS = {"timeout_s": 5.0, "memory_mib": 512, "workers": 2}


def verdict_of(code, *tests, entry_point="f", setup_code="", **limits):
    program = Program("p", code, entry_point, setup_code, tests or ("assert f(1) == 2",))
    return sandbox.run_programs([program], **{**LIMITS, **limits})[0]


def summary(verdict):
    return verdict.verdict, verdict.reason, verdict.line_no, verdict.failed_test_no


def test_a_right_program_passes():
    assert summary(verdict_of("def f(x):\n    return x + 1\n")) == ("pass", "all tests passed", None, None)


def test_a_false_assertion_fails_and_names_its_test():
    verdict = verdict_of("def f(x):\n    return x + 1\n", "assert f(1) == 2", "assert f(2) == 4", "assert f(9) == 9")
    assert summary(verdict) == ("fail", "assertion", None, 1)


def test_a_syntax_error_names_its_line():
    assert summary(verdict_of("def f(x):\n    return x +\n")) == ("error", "syntax error", 2, None)


def test_an_exception_names_the_deepest_line_of_the_program():
    code = "def g(x):\n    return 1 // x\n\ndef f(x):\n    return g(x - 1)\n"
    assert summary(verdict_of(code)) == ("error", "ZeroDivisionError", 2, 0)


def test_an_exception_while_the_program_loads_belongs_to_no_test():
    assert summary(verdict_of("import math\nmath.nothing\n")) == ("error", "AttributeError", 2, None)


def test_sleeping_past_the_deadline_is_a_timeout():
    code = "import time\ndef f(x):\n    while True:\n        time.sleep(1)\n"
    verdict = verdict_of(code, timeout_s=0.5)
    assert (verdict.verdict, verdict.reason) == ("timeout", "timeout")


def test_leaving_the_process_is_no_pass():
    for leave in ("import os\nos._exit(0)", "import sys\nsys.exit(0)", "raise SystemExit", "quit()"):
        assert verdict_of(leave + "\ndef f(x):\n    return x + 1\n").verdict == "error"


def test_verdicts_come_in_the_order_of_the_programs():
    slow = "import time\ntime.sleep(0.4)\ndef f(x):\n    return 2\n"
    fast = "def f(x):\n    return 3\n"
    programs = [
        Program("slow", slow, "f", "", ("assert f(1) == 2",)),
        Program("fast", fast, "f", "", ("assert f(1) == 2",)),
    ]
    seen = []
    verdicts = sandbox.run_programs(programs, **LIMITS, on_verdict=seen.append)
    assert [v.program_id for v in verdicts] == ["slow", "fast"]
    assert [v.verdict for v in verdicts] == ["pass", "fail"]
    assert sorted(seen) == sorted(verdicts)
