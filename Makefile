# Every verb of the project. Targets build what they need first; `make help` lists them.
# ARGS passes options through: make demo ARGS=--json, make test ARGS="-k compose -x", make lock ARGS=--upgrade.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# These would redirect what the environment's own interpreter imports.
unexport PYTHONHOME PYTHONPATH

ARGS ?=
JOBS ?= 2
UV ?= uv
PY := .venv/bin/python
STAMP := .venv/.fettle-ready
OPENAPI := .cache/contract/node_modules/@octokit/openapi/generated/api.github.com.json
WEBHOOKS := .cache/contract/node_modules/@octokit/webhooks-examples/api.github.com/index.json

# An environment that was moved with its checkout holds the old path in each script, so it counts as not built.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(shell pwd -P))
$(STAMP): FORCE
endif

.PHONY: help demo test test-slow test-contract check format bench lock clean FORCE
FORCE:

help: ## Print what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

$(STAMP): pyproject.toml constraints-dev.txt
	@sh deploy/make_venv.sh $(STAMP)

demo: $(STAMP) ## Take a real issue on an embedded forge to a merged pull request, live in the terminal
	@.venv/bin/fettle demo $(ARGS)

test: $(STAMP) ## Run the tests (JOBS=2 processes; ARGS go to pytest)
	@$(PY) -m pytest -q -n $(JOBS) --dist loadfile -m "not slow" $(ARGS)

test-slow: $(STAMP) ## Run the tests that take minutes each: kill points, rate limits, every command of the docs
	@$(PY) -m pytest -q -n $(JOBS) --dist loadfile -m slow $(ARGS)

test-contract: $(STAMP) ## Check devforge and the adapter against GitHub's own description (needs npm; 400 MB in .cache)
	@test -f $(OPENAPI) -a -f $(WEBHOOKS) || npm install --silent --no-save --ignore-scripts --prefix .cache/contract \
		@octokit/openapi@23.0.2 @octokit/webhooks-examples@7.6.1 >&2
	@FETTLE_GITHUB_OPENAPI=$(OPENAPI) FETTLE_GITHUB_WEBHOOKS=$(WEBHOOKS) $(PY) -m pytest -q tests/contract $(ARGS)

check: $(STAMP) ## Check style, format, types and import contracts
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports

format: $(STAMP) ## Rewrite the code in the project's format
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

bench: $(STAMP) ## Run the benchmarks and print the scoreboard
	@$(PY) -m evals.bench $(ARGS)

lock: ## Re-make the lock files from pyproject.toml (needs uv; ARGS=--upgrade moves pins)
	@UV="$(UV)" sh deploy/lock.sh $(ARGS)

clean: ## Remove what make built: .venv, caches, dist (never the state in .fettle)
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name .git -prune -o -name .fettle -prune -o -type d -name __pycache__ -exec rm -rf {} +
