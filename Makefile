# make demo   sets everything up in .venv/ and runs the main job on a synthetic clip (no network, GPU or weights needed then)
# make test   sets everything up and runs the tests
# make lint   ruff, mypy, import-linter
# EXTRA=cpu or EXTRA=gpu overrides the choice; by default gpu where an NVIDIA driver is present.

PYTHON ?= python3
EXTRA ?= $(shell if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then echo gpu; else echo cpu; fi)
BIN := .venv/bin
STAMP := .venv/.setup-$(EXTRA)
export OMP_WAIT_POLICY ?= passive

.PHONY: setup demo test test-slow test-long lint lock clean

setup: $(STAMP)

$(STAMP): requirements/cpu.txt requirements/gpu.txt requirements/dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv==0.13.8
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements/$(EXTRA).txt requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	rm -f .venv/.setup-*
	touch $@

demo: setup
	$(BIN)/skate demo --out runs/demo

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m "slow and not long" --timeout 3600

test-long: setup
	$(BIN)/python -m pytest -m long --timeout 14400

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# uv.lock names the index it was resolved from, so it stays out of git; what is committed names none.
lock:
	$(BIN)/uv lock --upgrade
	$(BIN)/uv export --quiet --no-header --extra cpu --extra url --no-dev --no-emit-project -o requirements/cpu.txt
	$(BIN)/uv export --quiet --no-header --extra gpu --extra url --no-dev --no-emit-project -o requirements/gpu.txt
	$(BIN)/uv export --quiet --no-header --only-group dev -o requirements/dev.txt

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
