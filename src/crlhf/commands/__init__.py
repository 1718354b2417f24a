"""The verbs of the command line: thin click commands that call the stages. Heavy libraries load where used."""

from __future__ import annotations

import click

from crlhf.commands import crowd, data, project, scores

VERBS: tuple[click.Command, ...] = (
    project.schema,
    project.where,
    data.validate,
    crowd.aggregate,
    crowd.compare_estimators,
    scores.score,
    scores.evaluate,
    scores.compare,
    scores.paper_table,
)
"""Every verb; a module of this package holds those of one subject."""
