# Everything happens in .venv, which the first target that needs it fills: a machine with Python >= 3.11 (venv, pip) will do.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
JOBS ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)
PLUGINS := $(patsubst %/pyproject.toml,-e ./%,$(wildcard plugins/*/pyproject.toml))
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
# torch and its two companions must be of one release. Named together, they are resolved together.
TORCH := torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0
# Two processes on two cores: OpenMP threads that spin while they wait slow each other down many times over.
CALM := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE

.PHONY: help install demo test wheels check format docs clean constraints

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

$(BIN)/uv: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	@touch $@

$(VENV)/.stamp-run: $(BIN)/uv $(PROJECTS)
	$(INSTALL) $(TORCH) editables -e . $(PLUGINS)  # editables: uv does not see that hatchling needs it
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-run
	$(INSTALL) -e '.[dev]' $(PLUGINS)
	@touch $@

$(VENV)/.stamp-docs: $(VENV)/.stamp-dev
	$(INSTALL) -e '.[dev,docs]' $(PLUGINS)
	@touch $@

install: $(VENV)/.stamp-run  ## the four packages, editable, into .venv

demo: $(VENV)/.stamp-run  ## pretrain, evaluate and report on built-in images (minutes on two cores)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/jepa demo image $(ARGS)

test: $(VENV)/.stamp-dev  ## all tests but those of the built wheels; ARGS='-k masks' for some
	$(CALM) $(BIN)/pytest -n $(JOBS) -m "not wheels" $(ARGS)

wheels: $(VENV)/.stamp-dev  ## build all wheels, install them elsewhere and test them there
	$(CALM) $(BIN)/pytest -m wheels $(ARGS)

check: $(VENV)/.stamp-dev  ## lint, format, types and the layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.stamp-dev  ## rewrite what ruff can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.stamp-docs  ## the site, into site/
	$(BIN)/mkdocs build --strict

clean:  ## remove .venv and everything that was built
	rm -rf $(VENV) site build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: $(VENV)/.stamp-docs  ## resolve constraints.txt anew
	head -n 2 constraints.txt > constraints.tmp
	printf '%s\n' $(TORCH) uv | $(BIN)/uv pip compile --quiet --upgrade --all-extras --no-annotate --no-header \
		--no-emit-package jepa-core - $(PROJECTS) >> constraints.tmp
	mv constraints.tmp constraints.txt
