# Two commands for a fresh clone, each complete on its own: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
JOBS ?= 2
export OMP_NUM_THREADS = 1

.PHONY: demo test lint types unit nightly bench accuracy clean

demo: $(VENV)/.installed
	$(BIN)/qleaky-export demo -o demo

test: lint types unit

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-test
	$(BIN)/mypy

unit: $(VENV)/.installed-test node_modules/.installed
	$(BIN)/python -m pytest -n $(JOBS) -m "not nightly and not gpu"

nightly: $(VENV)/.installed-nightly
	$(BIN)/python -m pytest -n $(JOBS) -m "nightly and not gpu"
	$(BIN)/python -m pytest tests/kernels/test_triton_kernel.py -m "not gpu"

bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/quantizers.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/export.py
	$(BIN)/python benchmarks/vectors.py

# Hours, on one core; stop it and start it again as you like, or start it twice. QLEAKY_DATA is where the data sets are.
accuracy: $(VENV)/.installed
	$(BIN)/python benchmarks/accuracy.py

clean:
	rm -rf $(VENV) node_modules demo build dist .pytest_cache .mypy_cache .ruff_cache

# torch first and exactly as pinned, so that nothing else pulls in a build with CUDA.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable ".[test,dev,peers,openvino,tract,prove,mcu]"
	touch $@

# Triton's interpreter and its compiler run without a GPU.
$(VENV)/.installed-nightly: $(VENV)/.installed-test
	$(PIP) --no-deps triton
	touch $@

# SpikingJelly's dependencies would replace torch by a build with CUDA.
$(VENV)/.installed-bench: $(VENV)/.installed-test
	$(PIP) --editable ".[bench]"
	$(PIP) --no-deps spikingjelly
	touch $@

# onnxruntime-web, and what drives a browser in tests. Without npm the tests that need them are skipped, or in CI fail.
node_modules/.installed: export/web/package.json
	@if command -v npm > /dev/null; then \
	  npm install --prefix . --no-save --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel error \
	    $$(node -p "Object.entries(require('./$<').devDependencies).map(e => e.join('@')).join(' ')") && touch $@ \
	    || echo "note: npm could not install; tests of browsers and node are skipped."; \
	else \
	  echo "note: npm is missing; tests of browsers and node are skipped."; \
	fi
