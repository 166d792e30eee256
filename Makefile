# `make run` and `make test` set everything up on a fresh machine; the other targets are for working on the repository.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
SITE_READY := $(VENV)/.site-ready

.PHONY: help setup run test lab site links notebooks data results lint audit bench badges clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# torch by itself first: a pinned release is taken as a CPU build where one is at hand, and nothing later moves it.
$(READY): pyproject.toml $(CONSTRAINTS)
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint $(CONSTRAINTS) torch
	$(PY) -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[lab,dev]"
	touch $@

setup: $(READY) ## the environment alone, .venv (2.3 GB); every other target sets it up as well

run: $(READY) ## run all notebooks in the class profile: pages (HTML) in runs/pages/, figures in runs/figures/
	$(PY) data/scripts/notebooks.py run

# Two files at a time, one thread each: two processes of two threads would slow each other down.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile

test: $(READY) ## the test suite, then the notebooks cell by cell in the smoke profile
	$(PYTEST) --no-loadscope-reorder  # else the files of few, long tests would be the last, on one core
	rm -rf runs/stages-smoke  # or a second run would find the models of the first, and test nothing
	MOLFT_PROFILE=smoke MOLFT_FIGURES="$(CURDIR)/runs/figures-smoke" MOLFT_STAGES="$(CURDIR)/runs/stages-smoke" \
		$(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout=300 notebooks

lab: $(READY) ## open the notebooks in JupyterLab
	$(VENV)/bin/jupyter lab notebooks

$(SITE_READY): $(READY)
	$(PY) -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[site]"
	touch $@

site: $(SITE_READY) ## the notebooks, guide, results and the reference of molft_utils as a site: runs/site/index.html
	$(VENV)/bin/sphinx-build --quiet --fail-on-warning --keep-going -c data/scripts -d runs/doctrees . runs/site
	cp runs/site/README.html runs/site/index.html

links: $(SITE_READY) ## do the addresses of other sites still answer? (needs a network)
	$(VENV)/bin/sphinx-build --quiet -b linkcheck -c data/scripts -d runs/doctrees . runs/links

notebooks: $(READY) ## run the notebooks and refresh what is committed: their outputs, and figures/; ARGS=05_tsdshapley: this one
	$(PY) data/scripts/notebooks.py refresh $(ARGS)

data: $(READY) ## make the tables of data/ again from their sources
	$(PY) data/scripts/tables.py

results: $(READY) ## add what data/results/ lacks (hours; run again to resume); ARGS=--check lists rows made with other settings, data or code
	OMP_NUM_THREADS=1 nice -n 19 $(PY) data/scripts/results.py $(ARGS)

lint: $(READY) ## style, spelling, types, layers, the workflows and their safety
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/typos
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(VENV)/bin/zizmor --quiet --offline .github

LICENCES := Apache;BSD;CC0;CNRI-Python;ISC;MIT;MPL-2.0;Mozilla Public License 2.0;PSF;Python Software Foundation;Zlib

audit: $(READY) ## licences and known vulnerabilities of all dependencies (needs a network)
	$(VENV)/bin/pip-licenses --partial-match --ignore-packages molft --allow-only="$(LICENCES)" > /dev/null
	$(VENV)/bin/pip-audit --skip-editable

bench: $(READY) ## speed within one run; comparison with other libraries in an environment of its own (an hour)
	$(PY) -m pytest tests/benchmarks --override-ini addopts= -s
	$(VENV)/bin/nox --session peers

badges: $(READY) ## write [tool.molft] repository of pyproject.toml into the README and the notebooks
	$(PY) data/scripts/notebooks.py badges

clean: ## remove what runs left; the environment stays
	rm -rf runs/stages runs/stages-smoke runs/pages runs/site runs/links runs/api runs/doctrees runs/figures runs/figures-smoke runs/scratch
