.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
EXTRAS_STAMP := $(VENV)/.installed-extras
RUNS ?= runs
FAULTS ?= runs/faults
TOY ?= $(RUNS)/toy-decoder
SCALE ?= smoke
GLUE ?=
SQUAD ?=
OVERRIDES ?=
ONLY ?=
UNIT := core metrics models allocation config data tasks geometry plots
REPRODUCE := $(addprefix reproduce-,glue squad figures cost ablations controls plans)

help:  ## Show the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-21s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit(f'gelora needs Python 3.11 to 3.13, this is {sys.version.split()[0]}: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo,dev]"
	@touch $(STAMP)

install: $(STAMP)  ## Install into .venv with the tested versions
	@echo "to use the command gelora in this shell:  . $(BIN)/activate"

run: $(STAMP)  ## Install, then train the demo to its end (task=demo, model=minilm, no network)
	$(BIN)/gelora run experiment=demo runs_dir=$(RUNS)
	@echo
	@echo "to use the command gelora in this shell:  . $(BIN)/activate"
	@echo "then for example:                         gelora ls $(RUNS)"

# compileall: where PYTHONDONTWRITEBYTECODE is set, every process that a test starts would compile all of it again.
test: $(STAMP)  ## Install, then run the tests; those on real text need GELORA_DATA
	$(BIN)/python -m compileall -q gelora_cli tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not gpu and not extras"

test-fast: $(STAMP)  ## Run the unit tests: no whole run, no second process
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not gpu and not extras and not distributed" $(addprefix tests/,$(UNIT))

test-faults: $(STAMP)  ## Kill runs at random moments and compare (minutes; resumes; FAULTS=DIR)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.helpers.faults --work $(FAULTS)

test-slow: $(STAMP)  ## Run the tests that take minutes
	$(BIN)/python -m pytest -q -m slow

test-gpu: $(STAMP)  ## Whether all of it holds on this machine's GPU (2 to 3 minutes); fails where torch sees none
	$(BIN)/python -m tests.helpers.gpu
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 5 --dist loadfile -m gpu tests/gpu

$(EXTRAS_STAMP): $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[4bit,slurm,ray,tensorboard,trackio,wandb,mlflow,trl]"
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --dest $(VENV)/wheels axolotl==0.19.0
	@touch $(EXTRAS_STAMP)

test-extras: $(EXTRAS_STAMP)  ## Install every tracker and engine, then run the tests that need them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m extras

$(REPRODUCE): reproduce-%: $(STAMP)
	$(BIN)/python -m scripts.reproduce $* --scale $(SCALE) --runs $(RUNS)/reproduce \
		$(if $(GLUE),--glue "$(GLUE)") $(if $(SQUAD),--squad "$(SQUAD)") $(OVERRIDES)

reproduce-glue:  ## GLUE, GeLoRA and its rivals under one budget (all of these: SCALE=smoke|cpu|paper GLUE=DIR SQUAD=DIR OVERRIDES=...)
reproduce-squad:  ## SQuAD v1.1 and v2.0
reproduce-figures:  ## Figures 1, 3, 4 and 5, and theorem 3.2's quantity
reproduce-cost:  ## Seconds of profile and training, compared with LoRA, AdaLoRA and SoRA
reproduce-ablations:  ## One setting at a time: pooling, estimator, examples, the +1, rounding, scaling
reproduce-controls:  ## The same total of ranks on other blocks
reproduce-plans:  ## Plans of every allocator and their verdicts, side by side; no training

evidence: $(STAMP)  ## Run what is left of the comparison of allocators (SCALE=cpu|paper GLUE= RUNS= ARCHIVE= PARALLEL= MINUTES= LAUNCH= DRY=1)
	$(BIN)/python -m scripts.evidence $(if $(filter smoke,$(SCALE)),cpu,$(SCALE)) --runs $(RUNS)/evidence \
		$(if $(GLUE),--glue "$(GLUE)") $(if $(ARCHIVE),--archive "$(ARCHIVE)") $(if $(PARALLEL),--parallel $(PARALLEL)) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(LAUNCH),--launch $(LAUNCH)) $(if $(DRY),--dry)

benchmarks: $(STAMP)  ## Measure gelora beside public tools and write docs/benchmarks.md (resumes; ONLY="name name")
	$(BIN)/python -m scripts.benchmarks $(if $(ONLY),--only $(ONLY))

toy-decoder: $(STAMP)  ## Train the toy decoder for task=plural into TOY=DIR (3 to 4 minutes; resumes)
	$(BIN)/python -m scripts.toy_decoder $(TOY)

lint: $(STAMP)  ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

$(DOCS_STAMP): $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $(DOCS_STAMP)

docs: $(DOCS_STAMP)  ## Build the documentation into site/, strictly and without network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html"

docs-serve: $(DOCS_STAMP)  ## Show the documentation on localhost while you write
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

test-docs: $(STAMP)  ## Run the tests of documentation and examples
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_docs.py tests/test_examples.py

clean:  ## Remove the environment and caches; runs are kept
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help install run test test-fast test-faults test-slow test-gpu test-extras benchmarks toy-decoder lint format docs docs-serve test-docs clean evidence $(REPRODUCE)
