# `make run` and `make test` set everything up on a fresh machine; the other targets are for working on the repository.
PYTHON ?= python3
PROFILE ?= class
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: help run test lab notebooks data mini results bench lint badges clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# torch by itself first: a pinned release is taken as a CPU build where one is at hand, and nothing later moves it.
$(READY): pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt torch
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[lab,dev]"
	touch $@

run: $(READY) ## run all notebooks in the class profile: figures/, and pages as HTML under runs/pages/
	$(PY) -m molft_utils.making.pages run --profile $(PROFILE)

test: $(READY) ## the test suite, then the notebooks cell by cell in the smoke profile
	$(PY) -m pytest
	rm -rf runs/stages-smoke  # or a second run would find the models of the first, and test nothing
	test -z "$(wildcard notebooks/*.ipynb)" || MOLFT_PROFILE=smoke MOLFT_FIGURES="$(CURDIR)/runs/figures-smoke" \
		MOLFT_STAGES="$(CURDIR)/runs/stages-smoke" \
		$(PY) -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 notebooks

lab: $(READY) ## open the notebooks in JupyterLab
	$(VENV)/bin/jupyter lab notebooks

notebooks: $(READY) ## run the notebooks and commit-ready refresh their outputs in place
	$(PY) -m molft_utils.making.pages refresh --profile $(PROFILE)

data: $(READY) ## make data/lipophilicity.csv and data/secondary.csv again from their sources
	$(PY) -m molft_utils.making.make_data

mini: $(READY) ## pretrain data/molformer-mini again (hours; run again to resume)
	$(PY) -m molft_utils.making.pretrain --output runs/mini-first
	$(PY) -m molft_utils.making.pretrain --init runs/mini-first --tokens 2.4e7 --learning-rate 1e-3 --seed 1 --run-folder runs/pretrain-second

results: $(READY) ## the results of record with three seeds (long; run again to resume)
	nice -n 19 $(PY) -m molft_utils.making.results

bench: $(READY) ## timings, as ratios within one run
	$(PY) -m pytest tests/benchmarks --override-ini addopts= --benchmark-columns=min,mean,rounds -s

lint: $(READY) ## style
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

badges: $(READY) ## write [tool.molft] repository of pyproject.toml into the README and the notebooks
	$(PY) -m molft_utils.making.pages badges

clean: ## remove what runs left; the environment stays
	rm -rf runs/stages runs/stages-smoke runs/pages runs/figures-smoke
