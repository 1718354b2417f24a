# `make help` lists the targets. Everything lives in .venv; DVC has an environment of its own inside it (docs/adr/0001).
SHELL := /bin/sh
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
export DAGSTER_HOME := $(CURDIR)/.dagster
export DAGSTER_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check format ui sync bench lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY)  ## install the locked environments into .venv (a few minutes, once)

$(READY): requirements/main.lock requirements/dvc.lock pyproject.toml requirements/install.sh
	@sh requirements/install.sh "$(PYTHON)"

demo: setup  ## the whole pipeline on the real base policy: weights, crowd, PPO, scores, report
	@$(BIN)/dvc repro
	@$(BIN)/python -m dagster_project.sync
	@$(BIN)/crlhf where

test: setup check  ## every test but the slow ones; what CI runs (those in a browser where there is a Chromium)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu" -rs

test-slow: setup  ## the tests that need the real base policy or many minutes
	@$(BIN)/python -m pytest -m slow

check: setup  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup  ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

ui: setup  ## Dagster on localhost:3000 and MLflow on localhost:5000
	@$(BIN)/python -m dagster_project.ui

sync: setup  ## tell Dagster and MLflow what a plain `dvc repro` did
	@$(BIN)/python -m dagster_project.sync

bench: setup  ## benchmarks that print tables: speed, memory, accuracy
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

lock: setup  ## write the lock files from what is installed now
	@sh requirements/lock.sh

clean:  ## remove everything the pipeline made here; the environment and the shared cache stay
	rm -rf data/tables data/rounds/r* models metrics reports .crlhf .dagster mlruns mlartifacts mlflow.db* .dvc/cache .dvc/tmp dvc.lock
