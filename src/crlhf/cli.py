"""The command line: `crlhf <stage>` for each stage of the pipeline, and verbs. Heavy libraries load where used."""

from __future__ import annotations

import signal
import sys
import warnings
from pathlib import Path

import click

from crlhf import __version__
from crlhf.commands import VERBS
from crlhf.errors import CrlhfError, path_error
from crlhf.stages import PER_POLICY, PER_ROUND, STAGES


def say(text: str) -> None:
    """Print one line for the person who waits, on standard error; standard output is for results."""
    click.echo(text, err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
@click.option(
    "--root", type=click.Path(path_type=Path), default=Path(), help="The folder of params.yaml [default: here]."
)
@click.pass_context
def cli(context: click.Context, root: Path) -> None:
    """Align code-generating language models with crowds.

    Each stage of the pipeline is a command. `dvc repro` runs those whose inputs changed.
    """
    context.obj = root.resolve()


def _add_stage(name: str, help_text: str) -> None:
    @click.pass_obj
    def run(root: Path, round_name: str | None = None) -> None:
        from crlhf.launch import relaunch
        from crlhf.params import load_params
        from crlhf.stages import rounds_of
        from crlhf.stages.runner import execute

        relaunch(name)
        for one in (round_name,) if round_name else rounds_of(name, load_params(root / "params.yaml").rounds):
            execute(name, root, say, one)

    command = click.command(name, help=help_text + ".")(run)
    if name in PER_ROUND:
        command = click.option("--round", "round_name", help="Only this round [default: each, in order].")(command)
    if name in PER_POLICY:
        command = click.option("--policy", "round_name", help="Only this: base or a round [default: each].")(command)
    cli.add_command(command)


for _name, _help in STAGES.items():
    _add_stage(_name, _help)


for _command in VERBS:
    cli.add_command(_command)


def _on_sigterm(signum: int, frame: object) -> None:
    """Let `finally` blocks run: checkpoints are kept, children are ended, MLflow is told."""
    raise SystemExit(128 + signum)


def _die_with_parent() -> None:
    """Ask Linux to send SIGTERM when DVC dies, so that no orphaned stage goes on writing its outputs."""
    import ctypes
    import os

    if sys.platform == "linux" and "DVC_STAGE" in os.environ:
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def main() -> None:
    """Run the command line; an error that the user can mend is one sentence and an exit code, without a traceback."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries among each other; nothing a user can do
    _die_with_parent()
    try:
        cli(standalone_mode=False)
    except CrlhfError as error:
        say(f"crlhf: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        known = path_error(error)
        if known is None:
            raise
        say(f"crlhf: {known}")
        sys.exit(known.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        say("crlhf: interrupted; run the same command again to go on")
        sys.exit(130)
