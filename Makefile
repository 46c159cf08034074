# make run    trains the four algorithms on scikit-learn's digits, ends with a table and figures
# make test   checks style and types, builds the documentation and runs the tests
# make test-all  does so with every case of every test, which takes twice as long
# make docs   builds the documentation into build/site; open build/site/index.html
# Each makes its own environment in .venv first, where there is none.

PYTHON ?= python3
VENV ?= .venv
OUT ?= results/demo
BIN := $(VENV)/bin
# Without mkdocs-material's advertisement of what comes after it.
DOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build

.PHONY: run test test-all docs clean

run: $(VENV)/ready
	$(BIN)/python -m experiments.run --out $(OUT) --resume \
	    --algorithm backprop fa dni hsic --dataset digits --n-layers 1 --hidden-width 50 \
	    --n-bits 2 4 8 float --quantizer asymm symm --scope global local \
	    --seeds 3 --epochs 30 --readout-epochs 20
	$(BIN)/python -m experiments.plot --results $(OUT)

test: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(DOCS)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(TESTS)

test-all: TESTS = --all
test-all: test

docs: $(VENV)/ready
	$(DOCS)

# Marked ready only when all is installed; an interrupted installation starts again.
$(VENV)/ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[experiments,test,docs]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
