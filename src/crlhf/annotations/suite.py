"""The checks stated as Great Expectations expectations, and the running of them in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.annotations.checks import COMPUTED_RULES, CheckSpec
from crlhf.annotations.quarantine import row_json
from crlhf.annotations.rule_names import STATUSES, VERDICTS
from crlhf.params import ValidationParams

if TYPE_CHECKING:
    import pandas as pd

N_EXAMPLES = 5
"""Rows shown for each broken expectation, in the results and in the Data Docs."""

_INDEX = {"annotations": ("source_file", "source_row"), "annotators": ("annotator_id",), "columns": ("column",)}
"""The columns that name a row of each table to a person."""


def _expectations(spec: CheckSpec, params: ValidationParams) -> list[Any]:
    """The expectations of one check; the failing rows of several must be distinct, for their counts are added."""
    import great_expectations.expectations as gxe

    severity = "critical" if spec.severity == "error" else "warning"
    common: dict[str, Any] = {
        "meta": {"check": spec.name},
        "severity": severity,
        "description": f"{spec.name}: {spec.description}",
    }
    no_nulls: dict[str, Any] = {"ignore_row_if": "either_value_is_missing", **common}
    pair_equal, in_set = gxe.ExpectColumnPairValuesToBeEqual, gxe.ExpectColumnValuesToBeInSet
    between, some_rows = gxe.ExpectColumnValuesToBeBetween, gxe.ExpectTableRowCountToBeBetween
    stated: dict[str, list[Any]] = {
        "columns_present": [
            gxe.ExpectColumnValuesToNotBeInSet(column="found", value_set=["missing"], **common),
        ],
        "column_types": [pair_equal(column_A="declared", column_B="found", **no_nulls)],
        "has_rows": [some_rows(min_value=1, **common)],
        "verdicts_remain": [some_rows(min_value=1, **common)],
        "annotator_named": [gxe.ExpectColumnValuesToMatchRegex(column="annotator_id", regex=r"\S", **common)],
        "completion_known": [gxe.ExpectColumnValuesToNotBeNull(column="item_problem_id", **common)],
        "problem_matches": [pair_equal(column_A="problem_id", column_B="item_problem_id", **no_nulls)],
        "code_matches": [pair_equal(column_A="code_sha256", column_B="item_code_sha256", **no_nulls)],
        "honeypot_flag_matches": [pair_equal(column_A="is_honeypot", column_B="item_is_honeypot", **no_nulls)],
        "line_exists": [
            between(column="line_no", min_value=1, **common),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="item_n_lines", column_B="line_no", or_equal=True, **no_nulls
            ),
        ],
        "verdict_known": [in_set(column="verdict", value_set=list(VERDICTS), **common)],
        "status_known": [in_set(column="status", value_set=list(STATUSES), **common)],
        "status_given": [gxe.ExpectColumnValuesToNotBeInSet(column="status", value_set=["unknown"], **common)],
        "duration_plausible": [
            between(column="duration_s", min_value=params.min_duration_s, max_value=params.max_duration_s, **common),
        ],
        "honeypot_coverage": [
            between(column="n_honeypots", min_value=params.min_honeypots_per_annotator, **common),
        ],
    }
    for rule in COMPUTED_RULES:
        stated[rule] = [in_set(column=f"keeps_{rule}", value_set=[True], **common)]
    return stated[spec.name]


class Outcome(NamedTuple):
    """One expectation after it was run: `result` is Great Expectations' own object, for the Data Docs."""

    check: str
    table: str
    result: Any

    @property
    def passed(self) -> bool:
        """Whether the expectation was met."""
        return bool(self.result.success)

    @property
    def n_unexpected(self) -> int:
        """The rows that do not meet it; 1 for an expectation on the table as a whole that is not met."""
        return int(self.result.result.get("unexpected_count", 0 if self.passed else 1))

    @property
    def examples(self) -> list[dict[str, Any]]:
        """The first rows that do not meet it, each with the columns that name it and the value, as strict JSON."""
        found = self.result.to_json_dict()["result"].get("partial_unexpected_index_list") or []
        return [json.loads(row_json(example)) for example in found[:N_EXAMPLES]]

    @property
    def places(self) -> list[str]:
        """The same rows by name only."""
        names = [[str(example[column]) for column in _INDEX[self.table]] for example in self.examples]
        return [" row ".join(name) for name in names]

    @property
    def message(self) -> str:
        """What went wrong inside Great Expectations, or an empty text."""
        info = self.result.exception_info or {}
        single = [info] if "raised_exception" in info else list(info.values())
        return "; ".join(sorted({str(one["exception_message"]) for one in single if one.get("raised_exception")}))


def run_suite(
    tables: dict[str, pd.DataFrame],
    specs: list[CheckSpec],
    params: ValidationParams,
    result_format: str = "SUMMARY",
) -> list[Outcome]:
    """Run the expectations of `specs` in a context that lives in memory only; the outcomes in the order of `specs`.

    `result_format` COMPLETE adds every unexpected row, where SUMMARY has the first N_EXAMPLES.
    """
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}
    outcomes: list[Outcome] = []
    for table in dict.fromkeys(spec.table for spec in specs):
        source = context.data_sources.add_pandas(table)
        batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all")
        suite = context.suites.add(gx.ExpectationSuite(table))
        for spec in specs:
            for expectation in _expectations(spec, params) if spec.table == table else []:
                suite.add_expectation(expectation)
        validation = context.validation_definitions.add(gx.ValidationDefinition(name=table, data=batch, suite=suite))
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name=table,
                validation_definitions=[validation],
                result_format={
                    "result_format": result_format,
                    "partial_unexpected_count": N_EXAMPLES,
                    "unexpected_index_column_names": list(_INDEX[table]),
                },
            )
        )
        run = checkpoint.run(batch_parameters={"dataframe": tables[table]})
        for result in next(iter(run.run_results.values())).results:
            outcomes.append(Outcome(result.expectation_config.meta["check"], table, result))
    order = {spec.name: position for position, spec in enumerate(specs)}
    return sorted(outcomes, key=lambda outcome: (order[outcome.check], outcome.result.expectation_config.type))
