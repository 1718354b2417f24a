"""Options that name a policy, shared by the verbs that load one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_OPTIONS = (
    click.option("--policy", required=True, help="A folder, .gguf file, adapter, round (or base), or a Hub id."),
    click.option("--base", help="The base of an adapter [default: the one that it names]."),
    click.option("--revision", default="main", show_default=True, help="Of a Hub repository."),
    click.option(
        "--dtype",
        type=click.Choice(("float32", "bfloat16", "float16")),
        default="float32",
        help="Of the weights.",
        show_default=True,
    ),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of every draw."),
)


def with_policy(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--policy`, `--base`, `--revision`, `--dtype` and `--seed` to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
