# Every target that needs the environment makes it first; `make help` lists them.
#   make test ARGS="-x tests/test_cards.py"     more arguments for the program behind the target
#   make clean install PYTHON=/path/to/python   use this interpreter instead of searching for one

ARGS ?=
BIN := .venv/bin
STAMP := .venv/.installed

# Compiled models are kept here between runs, so that only the first one waits for the compiler.
export NUMBA_CACHE_DIR ?= $(CURDIR)/.cache/numba
export PYTENSOR_FLAGS ?= base_compiledir=$(CURDIR)/.cache/pytensor
export PYTHON

# The stamp holds the folder that .venv was made for and is written last. When it is missing (an interrupted install),
# names another folder (a moved checkout) or the interpreter is gone, .venv is made again from nothing.
REBUILD := $(shell grep -qxF '$(CURDIR)' $(STAMP) 2>/dev/null && $(BIN)/python -c '' 2>/dev/null || echo rebuild)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check format install constraints clean rebuild

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## train on the shipped samples, predict with bands, draw one picture
	$(BIN)/python -m t2m_bayes demo --output outputs/demo $(ARGS)

test: $(STAMP) ## run the tests that take seconds, on all cores
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup $(ARGS)

test-slow: $(STAMP) ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

check: $(STAMP) ## check format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(STAMP) ## make .venv with the pinned dependencies (the other targets do this by themselves)

$(STAMP): pyproject.toml constraints.txt $(REBUILD)
	@if [ -n "$(REBUILD)" ] || [ ! -e $@ ]; then \
		python=$$(.ci/find-python) && rm -rf .venv && "$$python" -m venv .venv; \
	fi
	@echo "Installing into .venv with $$($(BIN)/python --version): about a minute the first time"
	@rm -f $@
	@$(BIN)/python -m pip install -qq --upgrade --constraint constraints.txt pip
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --build-constraint constraints.txt \
		--editable '.[fit,dask]' --group dev
	@echo '$(CURDIR)' > $@

constraints: ## resolve the dependencies anew and rewrite constraints.txt
	@rm -rf .cache/resolve && mkdir -p .cache
	@python=$$(PYTHON=$${PYTHON:-python3.12} .ci/find-python) && "$$python" -m venv .cache/resolve
	@.cache/resolve/bin/python -m pip install --quiet --upgrade pip
	@.cache/resolve/bin/python -m pip install --quiet --editable '.[fit,dask]' --group dev hatchling editables
	@grep '^#' constraints.txt > .cache/constraints.txt
	@.cache/resolve/bin/python -m pip freeze --all --exclude-editable >> .cache/constraints.txt
	@mv .cache/constraints.txt constraints.txt && rm -rf .cache/resolve

clean: ## remove .venv and every cache (outputs/ stays)
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find t2m_bayes tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
