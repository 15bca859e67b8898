# Set-up and everyday commands. `make quickstart` and `make test` are all that a newcomer needs.
# PYTHON=python3.12 picks another interpreter, VENV=/elsewhere another place, ARGS="..." adds options to the command run.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.installed
READY_DEV := $(VENV)/.installed-dev

.PHONY: help quickstart test test-slow lint format typecheck setup setup-dev check-machine clean

help:
	@echo "make quickstart   set up .venv and run the main job (at most 15 minutes on 2 cores)"
	@echo "make test         set up .venv and run the tests"
	@echo "make lint         ruff check, ruff format --check and the vocabulary check"
	@echo "make format       let ruff fix and format the code"
	@echo "make typecheck    mypy --strict"
	@echo "make test-slow    the tests marked slow"
	@echo "make clean        remove .venv and caches, but no results"

quickstart: setup
	$(BIN)/vla-bench quickstart $(ARGS)

test: setup-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-slow: setup-dev
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: setup-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python .ci/check_vocabulary.py --help-output

format: setup-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

typecheck: setup-dev
	$(BIN)/mypy

setup: $(READY)

setup-dev: $(READY_DEV)

# A stamp newer than pyproject.toml and constraints.txt means that there is nothing to install.
$(READY): pyproject.toml constraints.txt | check-machine $(BIN)/python
	@echo "Installing into $(VENV) (a few minutes the first time)"
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(READY_DEV): pyproject.toml constraints.txt | check-machine $(BIN)/python
	@echo "Installing with the development tools into $(VENV) (a few minutes the first time)"
	$(PIP) install --quiet -c constraints.txt -e ".[dev]"
	@touch $(READY) $@

$(BIN)/python: | check-machine
	$(PYTHON) -m venv $(VENV)

check-machine:
	@$(PYTHON) .ci/check_machine.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
	find vla_bench tests -name __pycache__ -type d -prune -exec rm -rf {} +
