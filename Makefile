# `make demo` and `make test` need Python 3.11 or later, with venv, and git; the rest they install into .venv.
PYTHON ?= python3
BIN = .venv/bin
unexport PYTHONDONTWRITEBYTECODE # or each command that is tested or measured would compile all modules again

.PHONY: check test lint demo bench clean

check: lint test

test: .venv/installed
	$(BIN)/pytest

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin experimenter

demo: .venv/demo
	PATH="$(CURDIR)/$(BIN):$$PATH" sh tests/demo.sh "$(CURDIR)/configs"

bench: .venv/installed
	$(BIN)/python tests/bench.py

PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo: .venv/bin/python pyproject.toml
	$(PIP) --editable .
	touch $@

.venv/installed: .venv/bin/python pyproject.toml
	$(PIP) --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
