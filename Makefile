# Everything below sets itself up in .venv from nothing but Python >= 3.10 and a C compiler.
#
#   make demo        a trained policy, exported, packed and driving a simulated robot in closed loop
#   make test        lint, types and the fast tests
#   make test-slow   fuzzing at length, sanitizers, mutation of the safety code, emulation, browser
#   make torch       add torch, which only edgerl.export_module needs; its tests skip without it
#   make format      put the code into the form that `make test` asks for
#   make clean       remove .venv and what was built

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# An editable install remembers where each module lies: another list of modules is another install.
INSTALLED := $(VENV)/installed-$(firstword $(shell find edgerl -name '*.py' | LC_ALL=C sort | cksum))
PYTEST := $(BIN)/python -m pytest
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(wildcard edgerl/core/*.[ch])

export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow torch lint format clean help
.DEFAULT_GOAL := help

help:
	@sed -n '3,9s/^#  *//p' Makefile

demo: $(INSTALLED)
	$(BIN)/edgerl demo

test: $(INSTALLED) lint
	$(PYTEST) -n 2 --dist loadgroup -m "not slow" --cov --cov-report=term:skip-covered $(TEST_OPTIONS)

test-slow: $(INSTALLED)
	$(PYTEST) -m slow $(TEST_OPTIONS)

torch: $(INSTALLED)
	$(BIN)/pip install --quiet "$$(grep '^torch==' constraints.txt)"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The C core is compiled here, with warnings as errors.
$(INSTALLED): $(SOURCES) | $(BIN)/pip
	@echo "Installing edgerl and its tools into $(VENV) (about 700 MB, a few minutes the first time)"
	$(BIN)/pip install --quiet --editable '.[sim,report,dev]'
	@rm -f $(VENV)/installed*; touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); edgerl needs Python 3.10 or newer. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { \
	  echo "No C compiler found. Install one (Debian: apt install gcc libc6-dev) or name it: make CC=clang ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment (Debian: apt install python3-venv)." >&2; exit 1; }

clean:
	rm -rf $(VENV) build dist out
