"""Tables and records of the pipeline: columns, dtypes, keys and what one row is. No I/O.

Every table that one stage writes and another reads is declared here, once. `store` turns a `Table` into an Arrow
schema and refuses to write or read anything else; the documentation of the tables is printed from here
(`crlhf schema`).

Conventions: `line_no` is 1-based, into `code.split("\\n")`. `code_sha256` is the SHA-256 of the code in UTF-8. Columns
named `low` and `high` (or ending so) are the ends of a 95 % interval. Times are UTC, in ISO 8601.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Dtype = Literal["string", "int64", "float64", "bool", "list<string>", "list<int64>", "list<float32>"]


class Column(NamedTuple):
    """One column of a table: its name, its type, what it means, and whether it may be null."""

    name: str
    dtype: Dtype
    meaning: str
    nullable: bool = False


class Table(NamedTuple):
    """One table: its name, what one row is, the columns that identify a row, and all its columns."""

    name: str
    row: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in the order in which they are written."""
        return tuple(column.name for column in self.columns)


PROBLEMS = Table(
    "problems",
    "one programming problem, to train on or to be scored on",
    ("problem_id",),
    (
        Column("problem_id", "string", "`<source>/<number>`, for example `starter/7`, `mbpp/11`, `sql/3`"),
        Column("source", "string", "starter | mbpp | humaneval | mbpp+ | humaneval+ | sql"),
        Column("split", "string", "train | test | validation | prompt, as the source's authors define it"),
        Column("language", "string", "the language of the program: python | sql"),
        Column(
            "kind", "string", "description: `prompt` is a text; header: `prompt` is code that the completion goes on"
        ),
        Column("prompt", "string", "what the policy is asked, before a protocol turns it into model input"),
        Column(
            "entry_point", "string", "what the tests look at: a function or class; in SQL `result`, or a table or view"
        ),
        Column("setup_code", "string", "what a test needs before it runs: imports, an SQL schema; may be empty"),
        Column("reference", "string", "a whole program that passes every test"),
        Column("tests", "list<string>", "each test, run on its own: Python source, or for SQL a check database (JSON)"),
    ),
)

COMPLETIONS = Table(
    "completions",
    "one program sampled from a policy for one problem",
    ("completion_id",),
    (
        Column("completion_id", "string", "16 hex digits; says nothing about what it identifies"),
        Column("problem_id", "string", "the problem it answers"),
        Column("sample_no", "int64", "0, 1, ... within the problem"),
        Column("policy_id", "string", "the policy that wrote it"),
        Column("model_input", "string", "the text that was tokenised for the policy"),
        Column("code", "string", "the generated program, cut at the protocol's stop strings"),
        Column("code_sha256", "string", "SHA-256 of `code`"),
        Column("prompt_token_ids", "list<int64>", "tokens of `model_input` as the policy saw them, without padding"),
        Column("token_ids", "list<int64>", "the sampled tokens, the one that completed the stop included"),
        Column("logprobs", "list<float32>", "behaviour log-probability of each of `token_ids`, at `temperature`"),
        Column("temperature", "float64", "the sampling temperature; 0 is greedy"),
        Column("finish_reason", "string", "stop: a stop string; eos: end of text; length: cut at the token limit"),
    ),
)

ITEMS = Table(
    "items",
    "one program that annotators are shown: a completion, or a honeypot that looks like one",
    ("completion_id",),
    (
        Column("completion_id", "string", "of the completion, or of the honeypot; both look alike"),
        Column("problem_id", "string", "the problem it answers"),
        Column("code", "string", "the program that is shown"),
        Column("code_sha256", "string", "SHA-256 of `code`"),
        Column("line_nos", "list<int64>", "its judgeable lines; blank lines and comments are not judged"),
        Column("is_honeypot", "bool", "True: the wrong lines are known and listed"),
        Column("wrong_line_nos", "list<int64>", "honeypots: the wrong lines, empty when all are right", nullable=True),
        Column("origin", "string", "policy; for honeypots reference or completion: what it was made from"),
        Column("fault_kind", "string", "honeypots: the kind of the injected fault, or none; else empty"),
    ),
)

LINE_TRUTHS = Table(
    "line_truths",
    "one judgeable line of one completion with its simulated truth; read by the simulated crowd and by reports on the "
    "simulation, never by an estimator",
    ("completion_id", "line_no"),
    (
        Column("completion_id", "string", "a completion, or a honeypot"),
        Column("line_no", "int64", "a judgeable line"),
        Column("is_wrong", "bool", "True: the line contains a fault"),
        Column("method", "string", "how it is known: honeypot | tests_pass | syntax | traceback | alignment | whole"),
    ),
)

ANNOTATIONS = Table(
    "annotations",
    "one annotator's verdict on one line of one completion: the raw contract of every importer and of the annotation "
    "page. A submitted answer gives one row for each judgeable line of the completion; a skipped one gives none",
    ("source_file", "source_row"),
    (
        Column("batch_id", "string", "the delivery this row came with"),
        Column("problem_id", "string", "the problem"),
        Column("completion_id", "string", "the completion or honeypot that was shown"),
        Column("code_sha256", "string", "SHA-256 of the code as it was shown"),
        Column("annotator_id", "string", "pseudonym of the annotator"),
        Column("line_no", "int64", "the judged line"),
        Column("verdict", "string", "wrong | ok"),
        Column("error_type", "string", "the annotator's word for the error; may be empty"),
        Column("is_honeypot", "bool", "True: the completion was a honeypot"),
        Column("status", "string", "submitted | skipped | rejected | draft | superseded | unknown"),
        Column("started_at", "string", "when the completion was opened"),
        Column("submitted_at", "string", "when the answer was submitted"),
        Column("duration_s", "float64", "seconds of work on the whole completion"),
        Column("source", "string", "simulated, or the tool or page it came from"),
        Column("source_file", "string", "the raw file it came from; `simulated` for a simulated crowd"),
        Column("source_row", "int64", "1-based row in that file (the header of a CSV file is not counted)"),
    ),
)

VALIDATED = ANNOTATIONS._replace(
    name="validated",
    row="one verdict that counts: it broke no rule, was submitted, and no later verdict took its place",
    key=("annotator_id", "completion_id", "line_no"),
)

QUARANTINE = Table(
    "quarantine",
    "one rule that one raw row broke; values are kept as text, whatever they were",
    ("source_file", "source_row", "rule"),
    (
        Column("source_file", "string", "the file the row came from"),
        Column("source_row", "int64", "1-based row in that file (the header of a CSV file is not counted)"),
        Column("rule", "string", "the name of the rule"),
        Column("reason", "string", "one sentence: what was found and what was expected"),
        Column("row", "string", "the whole row as JSON text"),
    ),
)

RELIABILITIES = Table(
    "reliabilities",
    "one annotator's estimated reliability",
    ("annotator_id",),
    (
        Column("annotator_id", "string", "pseudonym of the annotator"),
        Column("estimator", "string", "which estimator made this row"),
        Column("accuracy", "float64", "P(verdict right); one-coin reliability p_i"),
        Column("accuracy_low", "float64", "lower end, null where the method gives no interval", nullable=True),
        Column("accuracy_high", "float64", "upper end", nullable=True),
        Column("sensitivity", "float64", "P(line marked wrong | line wrong)"),
        Column("sensitivity_low", "float64", "lower end", nullable=True),
        Column("sensitivity_high", "float64", "upper end", nullable=True),
        Column("specificity", "float64", "P(line judged correct | line correct)"),
        Column("specificity_low", "float64", "lower end", nullable=True),
        Column("specificity_high", "float64", "upper end", nullable=True),
        Column("interval_method", "string", "how the intervals were obtained; none"),
        Column("weight_ok", "float64", "log-odds that a verdict `ok` adds to `the line is correct`"),
        Column("weight_wrong", "float64", "log-odds that a verdict `wrong` adds to `the line is correct`"),
        Column("n_verdicts", "int64", "line verdicts given, honeypots included"),
        Column("n_honeypot_verdicts", "int64", "line verdicts given on honeypots"),
        Column("n_honeypots", "int64", "honeypots answered"),
        Column("accuracy_hits", "float64", "verdicts' worth of evidence that was right, earlier rounds included"),
        Column("accuracy_misses", "float64", "the same, wrong; the prior is not counted"),
        Column("sensitivity_hits", "float64", "wrong lines that were marked, as evidence"),
        Column("sensitivity_misses", "float64", "wrong lines that were not marked"),
        Column("specificity_hits", "float64", "correct lines that were not marked"),
        Column("specificity_misses", "float64", "correct lines that were marked"),
        Column("is_kept", "bool", "False: this annotator's verdicts are not aggregated"),
        Column("reason", "string", "why kept or dropped"),
    ),
)

LINE_POSTERIORS = Table(
    "line_posteriors",
    "one judgeable line of one completion with P(correct | verdicts)",
    ("completion_id", "line_no"),
    (
        Column("completion_id", "string", "the completion; honeypots are not listed"),
        Column("line_no", "int64", "a judgeable line"),
        Column("posterior", "float64", "q_l = P(line correct | verdicts)"),
        Column("log_odds", "float64", "log(q_l / (1 - q_l))"),
        Column("evidence", "float64", "what the verdicts on the line itself add to its log-odds"),
        Column("n_ok", "int64", "kept annotators who judged the line correct"),
        Column("n_wrong", "int64", "kept annotators who marked the line wrong"),
    ),
)

TIE_DECIMALS = 9
"""Rewards are compared after rounding to these decimals: what is closer differs by rounding, not by verdicts."""

SCORES = Table(
    "scores",
    "one annotated completion with its aligned score and its reward",
    ("completion_id",),
    (
        Column("completion_id", "string", "the completion"),
        Column("problem_id", "string", "its problem"),
        Column("code_sha256", "string", "SHA-256 of the program that was judged"),
        Column("n_lines", "int64", "judgeable lines L"),
        Column("n_annotators", "int64", "kept annotators who judged it"),
        Column("aligned_score", "float64", "s = (1/L) sum_l q_l, in [0, 1]"),
        Column("aligned_score_low", "float64", "lower end of the posterior of the fraction of correct lines"),
        Column("aligned_score_high", "float64", "upper end"),
        Column("n_correct_sd", "float64", "posterior standard deviation of the number of correct lines"),
        Column("p_all_correct", "float64", "P(all lines correct | verdicts)"),
        Column("is_truncated", "bool", "True: the program was cut at the token limit"),
        Column("reward", "float64", "what PPO adds at the last token: the chosen score, less the truncation penalty"),
        Column("rank", "int64", "consensual ranking within the problem by reward; 1 is best, ties share the rank"),
        Column("is_tied", "bool", "True: another completion of the problem has the same rank"),
    ),
)

BENCHMARK_SAMPLES = Table(
    "benchmark_samples",
    "one program written for one benchmark problem, with its verdict",
    ("policy", "problem_id", "sample_no"),
    (
        Column("benchmark", "string", "humaneval | mbpp | sql"),
        Column("protocol", "string", "id of the protocol"),
        Column("policy", "string", "base, or the round that trained it"),
        Column("policy_id", "string", "the policy's full name"),
        Column("problem_id", "string", "the problem"),
        Column("sample_no", "int64", "0, 1, ... within the problem"),
        Column("code", "string", "the completion, cut at the protocol's stop strings"),
        Column("n_tokens", "int64", "sampled tokens"),
        Column("finish_reason", "string", "stop | eos | length"),
        Column("verdict", "string", "pass | fail | timeout | error"),
        Column("reason", "string", "what the verdict rests on, one short text"),
        Column(
            "outcome",
            "string",
            "pass | no_code | truncated | syntax_error | wrong_answer | exception | timeout: the verdict in detail",
        ),
        Column("isolation", "string", "the isolation the program was run in"),
    ),
)

PPO_STEPS = Table(
    "ppo_steps",
    "one optimiser step of PPO with its diagnostics; nan is written as null",
    ("step", "name"),
    (
        Column("step", "int64", "1-based optimiser step"),
        Column("name", "string", "name of the curve, for example `kl_k3`"),
        Column("value", "float64", "its value at this step", nullable=True),
    ),
)

TABLES: tuple[Table, ...] = (
    PROBLEMS,
    COMPLETIONS,
    ITEMS,
    LINE_TRUTHS,
    ANNOTATIONS,
    VALIDATED,
    QUARANTINE,
    RELIABILITIES,
    LINE_POSTERIORS,
    SCORES,
    BENCHMARK_SAMPLES,
    PPO_STEPS,
)


def markdown(paths: dict[str, str]) -> str:
    """All tables as one Markdown page; `paths` says where a table of the same name lies, `{round}` for each round."""
    lines = ["# Tables", "", "Written by `crlhf schema` from `src/crlhf/schema.py`.", ""]
    for table in TABLES:
        where = f" `{paths[table.name].format(round='<round>')}`." if table.name in paths else ""
        key = ", ".join(f"`{name}`" for name in table.key)
        lines += [f"## {table.name}", "", f"One row is {table.row}. Key: {key}.{where}", ""]
        lines += ["| column | type | meaning |", "| --- | --- | --- |"]
        for column in table.columns:
            null = ", may be null" if column.nullable else ""
            meaning = column.meaning.replace("|", "\\|")
            lines.append(f"| `{column.name}` | {column.dtype}{null} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


class Program(NamedTuple):
    """A program to be run against tests.

    `code` is the candidate, whole (a header and its completion are joined before). `tests` are run in order: of
    Python, each in the namespace that `code` and then `setup_code` made; of SQL, each on a database of its own that
    `setup_code` and the test make. The first that fails decides the verdict.
    """

    program_id: str
    code: str
    entry_point: str
    setup_code: str
    tests: tuple[str, ...]
    language: str = "python"


def program_of(problem: Mapping[str, Any], code: str, program_id: str) -> Program:
    """The whole program `code` with the tests of `problem`, a row of PROBLEMS."""
    return Program(
        program_id, code, problem["entry_point"], problem["setup_code"], tuple(problem["tests"]), problem["language"]
    )


class Verdict(NamedTuple):
    """What running a `Program` showed.

    `verdict` is pass (every test passed), fail (an assertion was false), timeout (the deadline came first) or error
    (a syntax error, an exception, a crash). `reason` is one short text, the same on every machine. `line_no` is the
    1-based line of `code` at which a syntax error lies or from which an exception came, or None.
    `failed_test_no` is the 0-based test that decided, None for a pass or when the program itself failed.
    """

    program_id: str
    verdict: str
    reason: str
    line_no: int | None
    failed_test_no: int | None
    isolation: str
    seconds: float


class CheckSpec(NamedTuple):
    """A rule that a stage will check, declared before it runs, so that Dagster can show it."""

    name: str
    description: str
    severity: str

    def result(self, n_unexpected: int) -> Check:
        """The rule's outcome: it passed if no row broke it."""
        return Check(self.name, n_unexpected == 0, self.severity, self.description, n_unexpected)


class Check(NamedTuple):
    """One rule that a stage checked. `severity` is error or warning; `n_unexpected` counts the rows that broke it."""

    name: str
    passed: bool
    severity: str
    description: str
    n_unexpected: int = 0


class Summary(NamedTuple):
    """What a stage says of its own run: it becomes the DVC metric, the Dagster metadata and the MLflow run.

    `metrics` are numbers that depend on inputs and params only (never wall time). `facts` are short texts.
    `is_simulated` is True when any number rests on a simulated crowd. `figures` are paths of PNG files written.
    """

    metrics: dict[str, float]
    facts: dict[str, str]
    checks: tuple[Check, ...] = ()
    is_simulated: bool = False
    figures: tuple[str, ...] = ()
