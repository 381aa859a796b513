# Each target sets up .venv by itself; nothing has to be installed by hand but Python >= 3.11.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
READY := $(VENV)/.ready
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: setup demo test test-fast check bench clean

setup: $(READY)

# torch first: the right build differs by machine, and everything else follows from it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[tune,dev]"
	touch $(READY)

demo: $(READY)
	$(BIN)/salearn sweep configs/demo.yaml
	$(BIN)/salearn report demo

# A file stays with one worker: its fixtures are made once. WORKERS=0 runs all in one process.
test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-fast: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not data"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) demo runs studies build *.egg-info
