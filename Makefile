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

AGENT_CLIS := .cache/agent-clis
AGENT_PACKAGES := @anthropic-ai/claude-code@2.1.197 @anthropic-ai/claude-code@2.1.328 @openai/codex@0.169.0
SLOW_AGENT_PACKAGES := @google/gemini-cli@0.61.0 opencode-ai@1.18.33 @moonshot-ai/kimi-code@2.1.0 \
	node-linux-$(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x64)@22.23.3

# Each in a folder of its own, named <program>-<version>; only ever the program inside is run, never its install scripts.
install_agents = for package in $(1); do \
	program=$$(printf '%s' "$${package%@*}" | sed -e 's|.*/||' -e 's|-code$$||' -e 's|-cli$$||' -e 's|-ai$$||' -e 's|-linux-.*||'); \
	into=$(AGENT_CLIS)/$$program-$${package\#\#*@}; \
	test -e "$$into/.ready" || { npm install --silent --no-save --no-audit --no-fund --ignore-scripts \
		--prefix "$$into" "$$package" >&2 && touch "$$into/.ready"; } || exit 1; \
	done

.PHONY: help demo test test-slow test-agents test-agents-slow test-contract check format bench lock clean FORCE
FORCE:

help: ## Print what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

$(STAMP): pyproject.toml constraints-dev.txt
	@sh deploy/make_venv.sh $(STAMP)

demo: $(STAMP) ## Take a real issue on an embedded forge to a merged pull request, live in the terminal
	@.venv/bin/fettle demo $(ARGS)

test: $(STAMP) ## Run the tests (JOBS=2 processes; ARGS go to pytest)
	@$(PY) -m pytest -q -n $(JOBS) --dist loadfile -m "not slow" $(ARGS)

test-slow: $(STAMP) ## Run the tests that take long: kill points, faults, attacks on limits, every command of the docs
	@$(PY) -m pytest -q -n $(JOBS) --dist loadfile -m slow $(ARGS)

test-agents: $(STAMP) ## Run the real Claude Code and Codex against a scripted model (needs npm; 1.3 GB in .cache)
	@$(call install_agents,$(AGENT_PACKAGES))
	@FETTLE_AGENT_CLIS=$(AGENT_CLIS) $(PY) -m pytest -q -n $(JOBS) --dist loadfile -m "not slow" tests/agents $(ARGS)

test-agents-slow: $(STAMP) ## Run the real Gemini CLI, opencode and Kimi Code in the same way (needs npm; 1 GB in .cache)
	@$(call install_agents,$(SLOW_AGENT_PACKAGES))
	@FETTLE_AGENT_CLIS=$(AGENT_CLIS) $(PY) -m pytest -q -n $(JOBS) --dist loadfile -m slow tests/agents $(ARGS)

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
