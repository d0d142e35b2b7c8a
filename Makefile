# `make help` lists what there is to make.

PYTHON ?= python3
PINNED := requirements/pinned.txt
# What to hand to pip for PyTorch, for another version or build. Both go together:
#   make venv TORCH=torch==2.8.0 TORCHVISION=torchvision==0.23.0
TORCH ?= $(shell grep '^torch==' $(PINNED))
TORCHVISION ?= $(shell grep '^torchvision==' $(PINNED))
# The user's own data for the quickstart; without it, data made on the spot.
SOURCE ?=
TARGET ?=

VENV := .venv
READY := $(VENV)/ready
DOCS_READY := $(VENV)/docs_ready
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --no-input install

.DEFAULT_GOAL := help
.PHONY: help venv quickstart test test-slow docs lint clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

venv: $(READY) ## install everything into .venv (Python 3.10 to 3.12, no compiler)

quickstart: $(READY) ## adapt a model within minutes; SOURCE=... TARGET=... for your data
	$(VENV)/bin/python tools/quickstart.py \
		$(if $(SOURCE),--source "$(SOURCE)") $(if $(TARGET),--target "$(TARGET)")

# What every test run has: two processes of one thread, which take over each other's
# tests.
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n 2 --dist worksteal --durations=10 tests

test: $(READY) ## run the tests: what to run before a commit
	$(PYTEST) -m 'not slow'

test-slow: $(READY) ## run the others: processes, kills, compilers, fuzzing
	$(PYTEST) -m slow

docs: $(DOCS_READY) ## build the documentation site in docs/_build
	$(VENV)/bin/python -m sphinx -q -W --keep-going docs docs/_build
	@echo 'docs/_build/index.html'

lint: $(READY) ## check the style
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean: ## remove .venv and what the tools cache
	rm -rf $(VENV) .pytest_cache .ruff_cache *.egg-info docs/_build

# PyTorch goes in by itself, after its dependencies and after mmcv, which
# would compile its operators if it saw a PyTorch while it is built. The stamp
# comes after all of it, so that an installation that broke off starts over.
$(READY): $(PINNED)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || { \
		echo 'This needs Python 3.10, 3.11 or 3.12, and $(PYTHON) is' \
			"$$($(PYTHON) --version 2>&1). Name another: make venv PYTHON=python3.11" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) cannot make virtual environments. On Debian or Ubuntu:' \
			'apt install python3-venv' >&2; \
		exit 1; }
	@echo 'Installing into $(VENV); a few minutes, most of it PyTorch.'
	$(PYTHON) -m venv --clear $(VENV)
	grep -v '^torch' $(PINNED) | MMCV_WITH_OPS=0 $(PIP) --no-deps -r /dev/stdin
	$(PIP) $(TORCH)
	$(PIP) --no-deps $(TORCHVISION)
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@
	$(VENV)/bin/python -m mmregda.compat

$(DOCS_READY): requirements/docs.txt $(READY)
	$(PIP) --no-deps -r requirements/docs.txt
	@touch $@
