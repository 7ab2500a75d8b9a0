# Every target but `help` first makes one environment, .venv, from nothing but Python (3.11 or newer), pip and make. It is
# made once, and again only when setup.cfg, pyproject.toml or constraints.txt changes.

PYTHON ?= python3
VENV := .venv
# Written after an installation that went through: an interrupted one leaves no stamp and is taken up again.
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow quality bench

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## generate posts with pictures, train three small systems on them, print their scores
	$(VENV)/bin/python scripts/demo.py

# Tests never touch the network, whatever the user's settings. Two workers share the work by file; one thread each, or they fight over the cores.
# The slow tests start processes of their own beside each other, and compare some bit for bit: one thread as well.
test test-slow: export OMP_NUM_THREADS := 1
test test-slow: export HF_HUB_OFFLINE := 1
test test-slow: export HF_HUB_DISABLE_TELEMETRY := 1
test test-slow: export TOKENIZERS_PARALLELISM := false

test: $(INSTALLED)  ## run the fast tests
	$(VENV)/bin/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(INSTALLED)  ## run the slow tests: processes, kills, builds, large sweeps
	$(VENV)/bin/python -m pytest -m slow

quality: $(INSTALLED)  ## check style and formatting
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

bench: $(INSTALLED)  ## measure speed and memory on the CPU, beside what one would otherwise run
	for question in crf training_step inference input_pipeline memory; do \
	    $(VENV)/bin/python benchmarks/$$question.py || exit 1; \
	done

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "iqcr-mi needs Python 3.11 or newer, '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "Name another one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@rm -f $@
	$(PYTHON) -m venv $(VENV)
	# seqeval comes as source alone, which pip 23 (Debian 12's) would build by a way of before that fails.
	$(VENV)/bin/python -m pip install --use-pep517 -c constraints.txt -e '.[dev]'
	@touch $@
