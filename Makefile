# Needs Linux, Python >= 3.11 with pip and venv, and make. Everything is installed into .venv, nothing elsewhere.
#
#   make bench   a small leaderboard: every task, all estimators but the slowest, tables and plots in results/quick
#   make test    the whole test suite; readers of real logs are tested if OPE_REAL_LOGS names their folder
#   make perf    speed and memory measurements
#
# Another interpreter: make bench PYTHON=/usr/bin/python3.12. CPU or GPU build of torch: see README.md.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
QUICK := results/quick

.PHONY: help bench test perf constraints clean

help:
	@sed -n 's/^#   //p' Makefile

bench: $(VENV)/installed
	@$(BIN)/python run_bench.py run --profile quick --results $(QUICK); code=$$?; \
	if [ $$code -gt 1 ]; then exit $$code; fi; \
	$(BIN)/python run_bench.py report --results $(QUICK) && exit $$code

test: $(VENV)/installed-test
	$(BIN)/python -m pytest

perf: $(VENV)/installed
	@set -e; for file in benchmarks/[!_]*.py; do name=$$(basename $$file .py); \
		echo "== $$name"; $(BIN)/python -m benchmarks.$$name; done

# After a change of the dependencies in pyproject.toml: what the environment now holds becomes what everybody gets.
constraints: $(VENV)/installed-test
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' | LC_ALL=C sort -f > constraints.txt

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		echo "Python 3.11 or newer is needed. Found: $$("$(or $(PYTHON),python3)" --version 2>&1 || echo none)." >&2; \
		echo "If it has another name, say so: make bench PYTHON=/path/to/python3.12" >&2; exit 1; fi
	"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The stamps: a second call installs nothing until the dependencies change.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV), a few minutes the first time"
	$(INSTALL) --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(INSTALL) --editable '.[test,live]'
	@$(INSTALL) --editable '.[oracle]' || echo "scope-rl could not be installed: the comparison with it will be skipped"
	@touch $@
