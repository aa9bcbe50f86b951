# make demo   sets everything up in .venv/ and runs the main job on a synthetic clip (no network, GPU or weights needed then)
# make test   sets everything up and runs the tests
# make lint   ruff, mypy, import-linter
# PYTHON=path and EXTRA=cpu|gpu|gpu-cuda12 override what requirements/choose.sh finds here.

CHOOSE := sh requirements/choose.sh
ifndef EXTRA
EXTRA := $(shell $(CHOOSE) extra)
endif
BIN := .venv/bin
STAMP := .venv/.setup-$(EXTRA)
SETS := cpu gpu gpu-cuda12
export OMP_WAIT_POLICY ?= passive

.PHONY: setup demo test test-slow test-long lint lock clean

setup: $(STAMP)

$(STAMP): $(SETS:%=requirements/%.txt) requirements/dev.txt pyproject.toml
	$(CHOOSE) fits $(BIN)/python || { python=$$(PYTHON='$(PYTHON)' $(CHOOSE) python) && "$$python" -m venv --clear .venv; }
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv==0.13.8
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements/$(EXTRA).txt requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	rm -f .venv/.setup-*
	touch $@

demo: setup
	$(BIN)/skate demo --out runs/demo

# Two processes, a file at a time: what shares servers and runs stays together.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest -m "slow and not long" --timeout 3600

test-long: setup
	$(BIN)/python -m pytest -m long --timeout 14400

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What is pinned stays as it is where it still fits; `make lock UPGRADE=--upgrade` takes the newest of everything.
COMPILE = $(BIN)/uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes --no-header
lock:
	for set in $(SETS); do \
		$(COMPILE) --extra $$set --extra url --extra web -o requirements/$$set.txt pyproject.toml || exit 1; \
	done
	$(COMPILE) --group dev -c requirements/cpu.txt -o requirements/dev.txt

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
