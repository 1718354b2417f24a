#!/bin/sh
# Write both lock files from what is installed: names and versions only, no index, no local build tags.
set -eu
cd "$(dirname -- "$0")/.."
freeze() { "$1" -m pip list --format=freeze | grep -viE '^(crlhf|pip)==' | sed 's/+cpu$//' | LC_ALL=C sort -f; }
freeze .venv/bin/python > requirements/main.lock
freeze .venv/dvc-env/bin/python > requirements/dvc.lock
