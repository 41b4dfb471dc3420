# kgfplint for developers. `make lint PATHS=/path/to/linux/drivers/net` and `make test` need nothing
# but Python 3.11; the rest is fetched into .venv once, and again when pyproject.toml changes.

PYTHON ?= python3
PATHS ?= tests/fixtures/tree
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: lint test check clean

# The small tree of the fixtures has mistakes on purpose, so that finding them there is no failure.
lint: $(READY)
	@$(BIN)/kgfplint $(LINTFLAGS) $(PATHS) || { code=$$?; [ "$(origin PATHS)" = file ] && [ $$code -eq 1 ] || exit $$code; }

test: $(READY)
	$(BIN)/pytest -n auto $(TESTFLAGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

$(READY): pyproject.toml
	@PYTHON="$(PYTHON)" bash .ci/venv $(VENV)
	$(BIN)/pip install --quiet --editable . --group dev
	@touch $@

clean:
	rm -rf $(VENV) build dist
