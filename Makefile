# Every command of this project. `make help` lists them; nothing needs to be set up first.
# The environment is .venv in this directory, made with uv where uv is installed, else with venv and pip.

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs cassettes clean

VENV := .venv
PY := $(VENV)/bin/python
# matrix-js-sdk, a peer in the tests of interoperability; without npm they skip by name.
PEER := tests/interop/node
PYTHON ?=
ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# An environment active in the caller's shell must not catch what is meant for ours.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile
	@echo "Options: PYTHON=/path/to/python3.12 (which interpreter), ARGS='...' (passed on to demo, test and bench)"

demo: $(VENV)/.ready ## see it work: a private server on this machine, a collection, a query
	@$(VENV)/bin/matrixdata demo $(ARGS)

test: $(VENV)/.ready-dev $(PEER)/node_modules/.ready ## run every test; what cannot run here is skipped by name
	@if [ -n "$(ARGS)" ]; then $(PY) -m pytest $(ARGS); else \
		$(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not alone" && $(PY) -m pytest -m alone; fi

check: $(VENV)/.ready-dev ## lint, types, layers and the quick tests: under a minute, no server
	$(VENV)/bin/ruff check --quiet --output-format=concise
	$(VENV)/bin/ruff format --check --quiet
	$(VENV)/bin/mypy --no-error-summary
	$(VENV)/bin/lint-imports --no-logo
	$(PY) -m pytest -q -m "not server and not node and not slow" --hypothesis-profile=quick \
		--ignore=tests/house/test_tools.py

bench: $(VENV)/.ready-dev ## run the benchmarks; each prints its figures beside the peer's
	@set -e; for file in benchmarks/[!_]*.py; do \
		[ -e "$$file" ] || { echo "There are no benchmarks yet."; break; }; \
		echo "== $$file"; $(PY) -m "benchmarks.$$(basename "$$file" .py)" $(ARGS); \
	done

docs: $(VENV)/.ready-dev ## check the documentation: its links hold, its code runs (no site is built)
	@$(PY) -m pytest -q tests/house/test_docs.py

cassettes: $(VENV)/.ready-dev ## record tests/cassettes anew, from a real server; no secret is kept
	@MATRIXDATA_RECORD=1 $(PY) -m pytest -q tests/protocol/test_cassettes.py
	@$(PY) -m pytest -q tests/protocol/test_cassettes.py

clean: ## remove the environment, caches and builds
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist $(PEER)/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment -------------------------------------------------------------------------------
# The stamps are newer than pyproject.toml while the environment matches it, so the second time is instant.
# pip learned dependency groups (--group) in 25.1; older ones are brought up to that inside .venv only.

FITS := import sys; sys.exit(sys.version_info < (3, 11))

$(VENV)/.ready: pyproject.toml
	@set -e; \
	if ! $(PY) -c '$(FITS)' 2>/dev/null; then \
		rm -rf $(VENV); \
		if command -v uv >/dev/null; then \
			uv venv --quiet --no-project --python "$${PYTHON:->=3.11}" $(VENV); \
		else \
			found=; bare=; \
			for python in $${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do \
				"$$python" -c '$(FITS)' 2>/dev/null || continue; \
				if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi; \
				bare=$$python; \
			done; \
			if [ -z "$$found" ] && [ -n "$$bare" ]; then \
				echo "$$bare cannot make environments: its venv module is missing." >&2; \
				echo "On Debian and Ubuntu: apt install python3-venv. Or install uv." >&2; exit 1; \
			elif [ -z "$$found" ]; then \
				echo "No Python 3.11 or newer found; tried $${PYTHON:-python3, python3.11 to python3.14}." >&2; \
				echo "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
			fi; \
			"$$found" -m venv $(VENV); \
		fi; \
	fi
	@echo "Setting up $(VENV) with $$($(PY) -V) (once; a few minutes on a slow network)"
	@$(call install,-e '.[all]')
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "Adding the developers' tools to $(VENV)"
	@$(call install,--group dev)
	@touch $@

$(PEER)/node_modules/.ready: $(PEER)/package-lock.json
	@mkdir -p $(@D)
	@if command -v npm >/dev/null; then \
		cd $(PEER) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null; fi
	@touch $@

# $(call install,what): the same arguments for both installers; they print only what went wrong.
define install
if command -v uv >/dev/null; then \
	uv pip install --quiet --python $(PY) $(1); \
else \
	$(PY) -m pip install -qq 'pip>=25.1' && $(PY) -m pip install -qq --progress-bar off $(1); \
fi
endef
