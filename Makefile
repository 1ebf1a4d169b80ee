# The two commands of a first look: `make demo` and `make test`. Everything runs from .venv.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
QUICK := not slow and not browser and not faults and not engine and not storm
REST := (slow or faults) and not browser and not engine and not storm
ENGINE := .venv-engine
TORCH ?= torch==2.13.0
COMPILE := $(VENV)/bin/uv pip compile -q --generate-hashes --no-emit-index-url --no-header --python-version 3.11

.PHONY: help setup demo stop test test-all test-faults engine-setup test-engine lint bench bench-full screens lock

help:
	@echo "make demo      the workbench with a sample run, on http://127.0.0.1:$${PORT:-8000}"
	@echo "make stop      stop the private PostgreSQL (the demo stops its own)"
	@echo "make test      quick tests; make test-all: with browser, kills, Redis and RabbitMQ"
	@echo "make test-faults   100 times kill -9 over all parts while runs go on, about 10 minutes; REASONMED_STORM_KILLS=3000: a night"
	@echo "make test-engine   against the real vLLM on the CPU (3 GB in $(ENGINE), made once by make engine-setup)"
	@echo "make lint      ruff, mypy, missing migrations"
	@echo "make bench     benchmarks; results on the terminal"
	@echo "make screens   pictures of the pages of a running demo, into docs/screens"
	@echo "make bench-full    the full 195 k questions filled (minutes, 12 GB under var/) and every page measured; then docs/benchmarks.md"
	@echo "make setup     the environment in $(VENV); make lock: lock the dependencies again"

setup: $(VENV)/.locked

$(VENV)/.locked: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

demo: setup
	@exec $(PY) manage.py demo --stop-with-parent

stop: setup
	@$(PY) manage.py stop_postgres

test: setup
	$(PY) -m pytest -q -n 2 -m "$(QUICK)"

test-all: test
	$(PY) -m pytest -q -m "$(REST)"
	REASONMED_STORM_KILLS=15 REASONMED_STORM_CALLS=1500 $(PY) -m pytest -q -s -m storm
	$(PY) -m pytest -q -m "browser and not engine"  # apart: the browser's driver keeps an event loop running

test-faults: setup
	$(PY) -m pytest -q -s -m storm

engine-setup: setup $(ENGINE)/.locked

$(ENGINE)/.locked: requirements/engine.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "The engine is locked for Python 3.11: make engine-setup PYTHON=python3.11")'
	test -x $(ENGINE)/bin/python || $(PYTHON) -m venv $(ENGINE)
	$(ENGINE)/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/engine.txt
	$(ENGINE)/bin/python -m pip install --quiet $(TORCH)
	@touch $@

test-engine: engine-setup
	$(PY) -m pytest -q -m engine

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy manage.py apps workers reasonmed_site reasonmed_verify
	$(PY) manage.py makemigrations --check --dry-run

bench: setup
	$(PY) -m tests.bench

screens: setup
	$(PY) -m tests.browser.screens

bench-full: setup
	$(PY) -m tests.bench.full

lock: setup
	$(COMPILE) requirements/base.in -o requirements/base.txt
	$(COMPILE) requirements/base.in requirements/dev.in -o requirements/dev.txt
	$(COMPILE) --excludes requirements/engine-excludes.txt requirements/engine.in -o requirements/engine.txt
