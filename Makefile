# The commands of this project. `make help` lists them.
# Four environments: .venv with JupyterLab for people, .venv-test without it for the tests (it doubles their time),
# .venv-e2e with the front ends that the tests in a browser drive; and .venv-mutation with what makes mutants.

PYTHON ?= python3
VENV := .venv
TEST_VENV := .venv-test
E2E_VENV := .venv-e2e
MUTATION_VENV := .venv-mutation
BIN := bin
TEST := $(TEST_VENV)/$(BIN)
# Images set it. The tests start some hundred processes, each of which would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help lab demo test e2e check smoke bounds notebooks bench chaos conformance coverage mutation security clean

help: ## list the commands
	@grep -E '^[a-z0-9]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

lab: $(VENV)/.ready ## open JupyterLab on the guided notebooks
	@$(VENV)/$(BIN)/mcp-oauth-nb lab notebooks

demo: $(VENV)/.ready ## run the whole guided flow in the terminal
	@$(VENV)/$(BIN)/mcp-oauth-nb demo

test: $(TEST_VENV)/.ready ## run all tests, the notebooks included, on two cores
	$(TEST)/python -m pytest -n 2 --dist loadfile

e2e: $(TEST_VENV)/.ready $(E2E_VENV)/.ready ## run the tests that need Chromium, Node and Redis
	E2E_VENV=$(E2E_VENV) $(TEST)/python -m pytest -m e2e tests

check: $(TEST_VENV)/.ready ## lint, check the format and the types
	$(TEST)/ruff check .
	$(TEST)/ruff format --check .
	$(TEST)/mypy
	$(TEST)/lint-imports

smoke: $(VENV)/.ready ## install and start as a newcomer would (needs a package index)
	@$(VENV)/$(BIN)/python .ci/smoke.py plain
	@$(VENV)/$(BIN)/python .ci/smoke.py lab

bounds: ## run some tests with the lowest and with the newest versions that pyproject.toml allows
	@$(PYTHON) .ci/bounds.py

notebooks: $(TEST_VENV)/.ready ## execute the notebooks again and keep their outputs
	$(TEST)/python notebooks/refresh.py

conformance: $(TEST_VENV)/.ready ## run the official conformance suite (needs npm and its registry)
	$(TEST)/python conformance/run.py

coverage: $(TEST_VENV)/.ready ## measure the branch coverage of the unit tests
	$(TEST)/python -m pytest tests --cov --cov-report=term --cov-fail-under=95

mutation: $(MUTATION_VENV)/.ready ## see whether the tests notice small mistakes in the security checks; with ALL=1, in unchanged ones too
	$(MUTATION_VENV)/$(BIN)/python mutation/run.py $(if $(ALL),--all)

bench: $(TEST_VENV)/.ready ## measure the ratios in benchmarks/
	$(TEST)/python benchmarks/run.py

chaos: $(TEST_VENV)/.ready ## let 200 sessions call while everything fails; keep the figures (needs Redis)
	$(TEST)/python benchmarks/chaos.py --output benchmarks/chaos.md

security: $(TEST_VENV)/.ready $(E2E_VENV)/.ready ## all that is known about security, in one table (an hour; needs what e2e needs)
	E2E_VENV=$(E2E_VENV) $(TEST)/python security/run.py

clean: ## remove the environments and all caches
	rm -rf $(VENV) $(TEST_VENV) $(E2E_VENV) $(MUTATION_VENV) .venv-bounds .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage build dist

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) .ci/make_venv.py $(VENV) lab

$(TEST_VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) .ci/make_venv.py $(TEST_VENV) test

$(E2E_VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) .ci/make_venv.py $(E2E_VENV) e2e

$(MUTATION_VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) .ci/make_venv.py $(MUTATION_VENV) mutation
