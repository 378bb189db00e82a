# Two commands set everything up on a fresh machine:
#   make run     the main job: lottery tickets on embedded data, with its report
#   make test    the tests
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help run test check lint types slow peers torture docs bench clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

$(READY): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c $(CONSTRAINTS) -e ".[dev]"
	@touch $(READY)

run: $(READY)  ## lottery tickets on embedded data: a table, a report page
	$(BIN)/sleepengine run configs/lottery_ticket.yaml

test: $(READY)  ## all tests but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -q

check: lint types test  ## lint, types, tests: what the continuous integration runs

lint: $(READY)  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy
	$(BIN)/mypy

slow: $(READY)  ## the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -q -m slow

peers:  ## curvature next to BackPACK and curvlinops, in an environment of their own
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet torch==2.13.0 pytest \
		backpack-for-pytorch==1.7.1 curvlinops-for-pytorch==3.0.1
	OMP_NUM_THREADS=1 PYTHONPATH=. .venv-peers/bin/python -m pytest -q -m peers tests/optional

torture: $(READY)  ## every proof at full scale: random sequences, kills, hostile files, long runs
	OMP_NUM_THREADS=1 SLEEPENGINE_TORTURE=1 $(BIN)/pytest -n 2 -q tests/torture

bench: $(READY)  ## speed and memory beside the peers, 12 minutes: a table, benchmarks/results/
	$(BIN)/python -m benchmarks.speed

docs: $(READY)  ## the generated pages in docs/
	$(BIN)/python docs/make_optimizer_table.py

clean:  ## caches and the virtual environment
	rm -rf $(VENV) .venv-peers .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
