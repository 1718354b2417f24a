#!/bin/sh
# Install the locked environments: .venv (the product) and .venv/dvc-env (DVC, whose antlr pin breaks Dagster).
# Usage: install.sh PYTHON. Safe to run again after an interruption.
set -eu
python=$1
"$python" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || {
  echo "crlhf needs Python 3.11 or newer; make PYTHON=/path/to/python3.11" >&2
  exit 1
}
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
cd "$here"
export PIP_DISABLE_PIP_VERSION_CHECK=1
[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "[1/3] installing the locked packages into .venv (two to five minutes the first time)"
.venv/bin/python -m pip install -qq -r requirements/main.lock
echo "[2/3] installing DVC into .venv/dvc-env"
[ -x .venv/dvc-env/bin/python ] || "$python" -m venv .venv/dvc-env
.venv/dvc-env/bin/python -m pip install -qq -r requirements/dvc.lock
cat > .venv/bin/dvc <<'WRAPPER'
#!/bin/sh
# DVC from its own environment; stage commands find crlhf on PATH.
bin=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
PATH="$bin:$PATH" exec "$bin/../dvc-env/bin/dvc" "$@"
WRAPPER
chmod +x .venv/bin/dvc
echo "[3/3] installing crlhf"
.venv/bin/python -m pip install -qq --no-deps --no-build-isolation -e .
.venv/bin/python -m dagster_project.home > /dev/null
touch .venv/.ready
