# lrbench. `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MATRIX ?= benchmarks/reference.toml
DEVICE ?= auto
THREADS ?= 1
BASE ?= main
CONSTRAINTS ?= constraints.txt
TURNS ?= bench test bench

.DEFAULT_GOAL := help
.PHONY: help setup bench costs report compare test test-all both check test-cuda docs overhead peers clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/installed: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lrbench needs Python 3.11 or newer; give it as make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[bench,dev,optimizers]'
	@touch $@

setup: $(VENV)/installed ## create .venv and install lrbench with all it needs

bench: $(VENV)/installed ## train the reference matrix (MATRIX=... for another), measure its steps and write its report
	$(BIN)/lrbench run $(MATRIX) --cost --device $(DEVICE) --threads $(THREADS)

costs: $(VENV)/installed ## measure single steps as pytest-benchmark benchmarks
	$(BIN)/pytest benchmarks/bench_step_cost.py

report: $(VENV)/installed ## write the reports of your own results anew
	$(BIN)/lrbench report results

compare: MATRIX = benchmarks/pull-request.toml
compare: $(VENV)/installed ## run a small matrix (MATRIX=...) at BASE=main and as things are here, and tell what became better or worse
	PYTHON=$(BIN)/python benchmarks/pull_request.sh '$(BASE)' '$(MATRIX)'

test: $(VENV)/installed ## run the tests: every kind of thing, and every pair of choices
	$(BIN)/pytest --quiet --numprocesses 2 --dist worksteal

test-all: $(VENV)/installed ## run all tests, the exhaustive products too
	$(BIN)/pytest --quiet --numprocesses 2 --dist worksteal -m ''

both: $(VENV)/installed ## bench and test in turn (TURNS=..., MATRIX=...): neither may disturb the other or a tracked file
	@for target in $(TURNS); do echo "make $$target"; $(MAKE) --no-print-directory $$target || exit 1; done
	@changed=$$(git status --porcelain); [ -z "$$changed" ] || { echo "files changed:"; echo "$$changed"; exit 1; }

check: $(VENV)/installed ## formatting, lint, types, and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-cuda: $(VENV)/installed ## run the tests that need a GPU
	$(BIN)/pytest --quiet -m cuda

docs: $(VENV)/installed ## write the pages that are made from the code
	@{ printf '# Catalog\n\nWhat a matrix can name: the output of `lrbench list`.\n\n```\n'; $(BIN)/lrbench list; printf '```\n'; } > docs/catalog.md

overhead: $(VENV)/installed ## time one training step of lrbench beside the loop one would write by hand
	$(BIN)/pytest benchmarks/bench_overhead.py

peers: $(VENV)/installed ## time lrbench beside a plain loop, vmap by hand, Lightning and JAX (installs them)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[peers]'
	$(BIN)/python benchmarks/peers.py $(if $(JSON),--json $(JSON))

clean: ## remove the environment and caches; results stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
