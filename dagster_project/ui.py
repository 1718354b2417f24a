"""Dagster and MLflow side by side until Ctrl-C: `python -m dagster_project.ui`, which `make ui` runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from crlhf.tracking import tracking_uri
from dagster_project.home import ensure_home
from dagster_project.settings import SettingsError, find_root

DAGSTER_PORT = os.environ.get("CRLHF_DAGSTER_PORT", "3000")
MLFLOW_PORT = os.environ.get("CRLHF_MLFLOW_PORT", "5000")
_POLL_S = 0.5
_GRACE_S = 15.0


def commands(root: Path) -> list[list[str]]:
    """The two servers' command lines, both on the loopback address only."""
    bin_folder = Path(sys.executable).parent
    dagster = [str(bin_folder / "dagster"), "dev", "-h", "127.0.0.1", "-p", DAGSTER_PORT]
    mlflow = [str(bin_folder / "mlflow"), "server", "--host", "127.0.0.1", "--port", MLFLOW_PORT]
    mlflow += ["--backend-store-uri", tracking_uri(root), "--workers", "1"]
    return [dagster, mlflow]


def main() -> int:
    """Start both, say where they are, and end both when one ends or the user asks."""
    try:
        root = find_root()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    os.environ.setdefault("DAGSTER_HOME", str(ensure_home(root)))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"Dagster: http://127.0.0.1:{DAGSTER_PORT}   MLflow: http://127.0.0.1:{MLFLOW_PORT}   (Ctrl-C ends both)")
    servers = [subprocess.Popen(command, cwd=root, start_new_session=True) for command in commands(root)]
    try:
        while all(server.poll() is None for server in servers):
            time.sleep(_POLL_S)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for server in servers:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ask a server to end, which ends its children, and insist after a while; what it leaves behind is killed.

    The children are not asked: those of MLflow would answer with a traceback.
    """
    server.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        server.wait(_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


if __name__ == "__main__":
    sys.exit(main())
