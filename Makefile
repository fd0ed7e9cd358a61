# Everything runs in .venv, which is made on first use: nothing but Python (3.11 or later) and make is needed.
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
PIP := -m pip install --quiet --disable-pip-version-check --editable
# Tests run side by side; the arithmetic libraries should not compete with each other for the processor.
export MPLBACKEND ?= agg
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.NOTPARALLEL:
.PHONY: demo test test-oldest audit check bench docs clean

demo: $(VENV)/.demo
	$(VENV)/bin/python examples/demo.py

test: $(VENV)/.test
	$(ONE_THREAD) $(VENV)/bin/python -m pytest -n 2

test-oldest: $(OLDEST)/.test
	$(ONE_THREAD) $(OLDEST)/bin/python -m pytest -n 2

audit: $(VENV)/.test
	$(ONE_THREAD) $(VENV)/bin/python tests/audit.py

check: $(VENV)/.check $(VENV)/.test
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest tests/test_layout.py
	$(VENV)/bin/python tests/check_wheel.py

bench: $(VENV)/.bench
	$(VENV)/bin/python -m benchmarks

docs: $(VENV)/.docs
	$(VENV)/bin/python docs/coverage.py
	$(VENV)/bin/python docs/pages.py
	$(VENV)/bin/python -m mkdocs build

clean:
	rm -rf $(VENV) $(OLDEST) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# One stamp per extra: installed once, and again when pyproject.toml changes.
$(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) ".[$*]"
	touch $@

# The lowest NumPy that is supported.
$(OLDEST)/.test: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python $(PIP) ".[test]" "numpy==2.0.*"
	touch $@
