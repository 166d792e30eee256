# `make run` and `make test` set everything up on a fresh machine; the other targets are for working on the repository.
PYTHON ?= python3
PROFILE ?= class
CONSTRAINTS ?= constraints.txt
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: help run test lab notebooks data mini bank results bench faults lint colab matrix audit hub gpu browser badges clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# torch by itself first: a pinned release is taken as a CPU build where one is at hand, and nothing later moves it.
$(READY): pyproject.toml $(CONSTRAINTS)
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint $(CONSTRAINTS) torch
	$(PY) -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[lab,dev]"
	touch $@

run: $(READY) ## run all notebooks in the class profile: figures in runs/figures/, pages as HTML in runs/pages/
	$(PY) -m molft_utils.making.pages run --profile $(PROFILE)

# Two files at a time, one thread each: two processes of two threads would slow each other down.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile

test: $(READY) ## the test suite, then the notebooks cell by cell in the smoke profile
	$(PYTEST) --no-loadscope-reorder  # else the files of few, long tests would be the last, on one core
	rm -rf runs/stages-smoke  # or a second run would find the models of the first, and test nothing
	MOLFT_PROFILE=smoke MOLFT_FIGURES="$(CURDIR)/runs/figures-smoke" MOLFT_STAGES="$(CURDIR)/runs/stages-smoke" \
		$(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout=300 notebooks

lab: $(READY) ## open the notebooks in JupyterLab
	$(VENV)/bin/jupyter lab notebooks

notebooks: $(READY) ## run the notebooks and refresh what is committed: their outputs, and figures/
	$(PY) -m molft_utils.making.pages refresh --profile $(PROFILE)

data: $(READY) ## make the tables of data/ again from their sources
	$(PY) -m molft_utils.making.make_data

# Two processes of one thread each share a step, which is faster than one process of two threads.
PRETRAIN := OMP_NUM_THREADS=1 nice -n 19 $(VENV)/bin/torchrun --nproc-per-node 2 -m molft_utils.making.pretrain
DESCRIPTORS := --moses-molecules 60000 --descriptors 16 --learning-rate 2e-3

mini: $(READY) ## pretrain the small checkpoints of data/ again (hours; run again to resume)
	$(PY) -m molft_utils.making.pretrain --output runs/mini-first
	$(PY) -m molft_utils.making.pretrain --init runs/mini-first --tokens 2.4e7 --learning-rate 1e-3 --seed 1 --run-folder runs/pretrain-second
	$(PRETRAIN) --init data/molformer-mini --tokens 3e7 $(DESCRIPTORS) --run-folder runs/pretrain-descriptors --output runs/descriptors-first
	$(PRETRAIN) --init runs/descriptors-first --tokens 3e7 $(DESCRIPTORS) --seed 1 --run-folder runs/pretrain-descriptors-second \
		--output data/molformer-mini-descriptors

bank: $(READY) ## retrain on random halves, and with groups added (hours; run again to resume)
	OMP_NUM_THREADS=1 nice -n 19 $(PY) -m molft_utils.making.retraining_bank

results: $(READY) ## the results of record with five seeds (long; run again to resume)
	nice -n 19 $(PY) -m molft_utils.making.results

# The other libraries live in an environment of their own, which the command makes.
bench: $(READY) ## timings as ratios within one run; other libraries: data/results/peers.csv, figures/peers.png (an hour)
	$(PY) -m pytest tests/benchmarks --override-ini addopts= --benchmark-columns=min,mean,rounds -s
	MOLFT_FIGURES="$(CURDIR)/figures" OMP_NUM_THREADS=1 $(PY) -m molft_utils.making.peers

faults: $(READY) ## a hundred kills at random moments, then a million strings: what is lost, and what is met wrongly
	OMP_NUM_THREADS=1 $(PY) -m molft_utils.making.kills
	OMP_NUM_THREADS=1 $(PY) -m molft_utils.making.fuzz

lint: $(READY) ## style, types, the workflow
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

colab: $(READY) ## rehearse Google Colab: its versions, the set-up cell, six notebooks in smoke (Python 3.13)
	OMP_NUM_THREADS=1 $(PY) -m molft_utils.making.colab

# The environments take 7 GB each where the index has only builds of torch with CUDA; --remove keeps one at a time.
matrix: $(READY) ## the tests with the oldest and the newest releases that pyproject.toml admits, Python 3.11 to 3.13
	$(PY) -m molft_utils.making.matrix --remove

audit: $(READY) ## licences and known vulnerabilities of all dependencies (pip-audit needs a vulnerability service)
	$(PY) -m molft_utils.making.audit

hub: $(READY) ## a stand-in for the Hugging Face hub with a full-size model of random weights: loading, costs
	OMP_NUM_THREADS=2 $(PY) -m molft_utils.making.hub

gpu: $(READY) ## on a machine with CUDA: the tests marked gpu, then times and peak memory into data/results/gpu.csv
	$(PY) -m pytest -m gpu tests/gpu
	$(PY) -m molft_utils.making.gpu

browser: $(READY) ## run notebooks in JupyterLab in headless Chromium and move every widget
	$(PY) -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[browser]"
	OMP_NUM_THREADS=1 $(PY) -m molft_utils.making.browser

badges: $(READY) ## write [tool.molft] repository of pyproject.toml into the README and the notebooks
	$(PY) -m molft_utils.making.pages badges

clean: ## remove what runs left; the environment stays
	rm -rf runs/stages runs/stages-smoke runs/pages runs/figures runs/figures-smoke
