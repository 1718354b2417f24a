"""The verbs of the command line: thin click commands that call the stages. Heavy libraries load where used."""

from __future__ import annotations

import click

from crlhf.commands import crowd, data, page, project, rounds, scores, trial

VERBS: tuple[click.Command, ...] = (
    project.schema,
    project.where,
    project.isolation,
    data.validate,
    data.import_,
    data.export,
    data.forget,
    crowd.aggregate,
    crowd.compare_estimators,
    scores.score,
    scores.evaluate,
    scores.compare,
    scores.paper_table,
    trial.generate,
    rounds.rounds,
    rounds.close,
    page.serve,
    page.collect,
    page.page,
)
"""Every verb; a module of this package holds those of one subject."""
