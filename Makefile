# Everything a person types. `make` alone lists it.
PYTHON ?= python3
VENV_PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test faults lint format types bench screenshots lock clean

help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Try the portal: installs into .venv, sets up SQLite and a CA under var/, issues one certificate, serves (ARGS=--no-serve stops there)
	@$(PYTHON) tools/venv.py requirements.txt
	@$(VENV_PYTHON) manage.py up --demo $(ARGS)

test: ## Every check and test on private servers; T=tests/policy runs one part
	@$(PYTHON) -m tests.harness test $(T)

faults: ## The long fault injections, on private servers (minutes)
	@$(PYTHON) -m tests.harness exec python -m pytest -m long_fault $(or $(ARGS),tests)

lint: ## ruff, mypy and import-linter, without servers
	@$(PYTHON) -m tests.harness lint

format: ## Rewrite the code in the project's format
	@$(PYTHON) tools/venv.py requirements-dev.txt
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format .

types: ## mypy alone
	@$(PYTHON) tools/venv.py requirements-dev.txt
	@.venv/bin/mypy

bench: ## The benchmarks on private servers (ARGS=... are theirs)
	@$(PYTHON) -m tests.harness exec python -m bench $(ARGS)

screenshots: ## Pictures of the pages on demo data, in docs/screenshots/ (minutes; needs a Chromium)
	@$(PYTHON) tools/venv.py requirements-dev.txt
	@$(VENV_PYTHON) tools/screenshots.py

lock: ## Pin requirements*.in anew, with hashes
	@$(PYTHON) tools/venv.py requirements-dev.txt
	@for name in requirements requirements-pdf requirements-assistant requirements-dev; do \
		.venv/bin/uv pip compile --quiet --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links \
			--custom-compile-command "make lock" $(ARGS) $$name.in -o $$name.txt || exit 1; \
	done

clean: ## Remove what can be made again (.venv and caches; var/ with its data stays)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache staticfiles
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
