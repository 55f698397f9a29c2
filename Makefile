# make demo, make test: complete from Python 3.11 and make alone.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PICTURE := docs/ball.png

.PHONY: demo test test-full lint docs clean

demo: $(STAMPS)/run
	$(BIN)/codi generate --inputs text="a small red circle bouncing" image=$(PICTURE) \
		--outputs text image audio video --out out/

test: $(STAMPS)/test
	$(BIN)/python -m pytest

test-full: $(STAMPS)/test
	$(BIN)/python -m pytest -m "full or not full"

lint: $(STAMPS)/test $(STAMPS)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMPS)/docs
	$(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) out build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)

# A stamp is newer than what the install was made from: a warm run installs nothing.
$(STAMPS)/run: pyproject.toml setup.py | $(BIN)/python
	@echo "Installing codi and what it stands on into $(VENV): minutes, and some GB the first time."
	$(PIP) --editable .
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/test $(STAMPS)/dev $(STAMPS)/docs: $(STAMPS)/%: $(STAMPS)/run
	$(PIP) --editable ".[$*]"
	@touch $@
