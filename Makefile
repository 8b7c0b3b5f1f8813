# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
comma := ,
TESTED_EXTRAS := kernels,files,train,trim,eval,serve,browser,dev
EXTRAS := $(TESTED_EXTRAS),docs
INSTALLED := $(VENV)/.installed
# Ray, which only test-cluster needs.
CLUSTER_INSTALLED := $(VENV)/.cluster-installed
# What `pip install mlret` installs, which suffices for the demonstration.
LIGHT := $(VENV)/.light
# The lowest versions that pyproject.toml allows, in an environment of their own.
LOWEST := .venv-lowest
LOWEST_INSTALLED := $(LOWEST)/.installed
# Programs of others that use or test servers, apart from what mlret needs; their versions are in constraints-serve.txt.
OTHERS := .venv-serve
OTHERS_INSTALLED := $(OTHERS)/.installed
# Frameworks that use mlret, apart from what mlret needs; their versions are in constraints-integrations.txt.
FRAMEWORKS := .venv-integrations
FRAMEWORKS_INSTALLED := $(FRAMEWORKS)/.installed
NODE := .node
FRAMEWORK_MODULES = $(foreach name,haystack langchain llama_index,\
	$(wildcard mlret/integrations/$(name)*.py mlret/integrations/$(name)/*.py))
FRAMEWORK_TESTS = $(foreach name,haystack langchain llama_index,$(wildcard tests/integrations/test_$(name)*.py))
# Only those that need such programs: make test-serve SERVE_TESTS="-m 'others or browser' tests/serve"
SERVE_TESTS ?= tests/serve tests/client
NODE_INSTALLED := $(NODE)/.installed
# Those that touch every library; all of them: make test-lowest LOWEST_TESTS=tests
LOWEST_TESTS ?= tests/test_versions.py tests/data/ranking tests/encoders/test_encoder.py tests/encoders/test_forward.py \
	tests/encoders/test_late_interaction.py tests/encoders/test_longest_input.py tests/vocabulary/test_counting.py \
	tests/index/test_index.py tests/index/test_lexical.py tests/index/test_faiss_index.py tests/memory/test_dates.py \
	tests/memory/test_memory.py tests/eval/test_metrics.py tests/eval/test_xor_retrieve.py tests/eval/test_report.py \
	tests/training/objectives tests/integrations

# The modules of the public callables, whose docstrings must describe every parameter and result.
PUBLIC := mlret/__init__.py mlret/errors.py mlret/client/async_client.py mlret/client/client.py \
	mlret/data/ranking/reader.py mlret/encoders/colbert_export.py \
	mlret/encoders/external.py mlret/encoders/late_interaction.py mlret/encoders/multi_vector.py \
	mlret/encoders/encoder.py mlret/encoders/loading.py mlret/eval/compare.py mlret/eval/metrics.py mlret/eval/report.py \
	mlret/eval/run.py mlret/index/hits.py mlret/index/index.py mlret/index/settings.py mlret/memory/base.py \
	mlret/memory/editing.py mlret/memory/memory.py mlret/memory/reading.py mlret/memory/results.py \
	mlret/memory/writing.py \
	mlret/vocabulary/drafter.py mlret/vocabulary/report.py mlret/vocabulary/trim.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-slow test-gpu test-serve test-cluster test-integrations test-lowest lowest lint types format docs install clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[36mmake %-11s\033[0m %s\n", $$1, $$2}'

demo: $(LIGHT) ## Install what mlret itself needs, if need be, then see it work
	@$(BIN)/mlret demo

test: $(INSTALLED) ## Run the quick tests of every part (some ten minutes, two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --hypothesis-profile=fast \
		-m "not thorough and not slow and not gpu and not others and not browser and not frameworks and not cluster"

test-all: $(INSTALLED) ## Run all tests but those of test-slow and test-gpu, with more examples (20 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu and not others and not browser and not frameworks and not cluster"

test-slow: $(INSTALLED) ## Run the tests that take minutes each
	$(BIN)/python -m pytest -m slow

test-gpu: $(INSTALLED) ## Run the tests that need a GPU
	$(BIN)/python -m pytest -m gpu

test-serve: $(INSTALLED) $(OTHERS_INSTALLED) $(NODE_INSTALLED) ## Test the server, also with programs of others; needs npm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --hypothesis-profile=fast \
		$(SERVE_TESTS)

test-cluster: $(CLUSTER_INSTALLED) ## Test building, serving and training on clusters of Ray (some eight minutes)
	$(BIN)/python -m pytest --timeout 600 tests/cluster

test-integrations: $(FRAMEWORKS_INSTALLED) ## Test mlret within LangChain, LlamaIndex and Haystack, with their suites
	$(FRAMEWORKS)/bin/mypy --follow-imports silent $(FRAMEWORK_MODULES)
	OMP_NUM_THREADS=1 $(FRAMEWORKS)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m frameworks \
		--hypothesis-profile=fast $(FRAMEWORK_TESTS)

test-lowest: $(LOWEST_INSTALLED) ## Run some tests with the lowest versions allowed; LOWEST_TESTS=tests for all
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu and not others and not browser and not frameworks and not cluster" $(LOWEST_TESTS)

lowest: ## Write constraints-lowest.txt again from the bounds in pyproject.toml; needs uv
	uv pip compile --quiet --python-version 3.11 --resolution lowest-direct --no-annotate --no-header \
		$(foreach extra,$(subst $(comma), ,$(TESTED_EXTRAS)),--extra $(extra)) pyproject.toml -o constraints-lowest.txt

lint: $(INSTALLED) ## Check style, the layers of imports, and the layout of files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pydoclint --quiet $(PUBLIC)
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_layout.py

types: $(INSTALLED) ## Check types
	$(BIN)/mypy

format: $(INSTALLED) ## Bring the code into the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED) ## Build the documentation into build/docs; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs -b html . build/docs

install: $(INSTALLED) ## Make .venv and install mlret with its development tools

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

$(CLUSTER_INSTALLED): $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[ray]"
	@touch $@

$(OTHERS_INSTALLED): constraints-serve.txt
	$(PYTHON) -m venv $(OTHERS)
	$(OTHERS)/bin/pip install --quiet --disable-pip-version-check -c constraints-serve.txt schemathesis openai cohere
	@touch $@

$(FRAMEWORKS_INSTALLED): pyproject.toml constraints-integrations.txt
	$(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/pip install --quiet --disable-pip-version-check -c constraints-integrations.txt \
		-e ".[haystack,langchain,llama-index]" langchain-tests hypothesis mypy pytest pytest-asyncio pytest-timeout \
		pytest-xdist types-PyYAML
	@touch $@

$(NODE_INSTALLED): Makefile
	npm install --no-save --no-audit --no-fund --silent --prefix $(NODE) node@22 \
		@modelcontextprotocol/conformance@0.1.16 @modelcontextprotocol/inspector@2.12.0
	@touch $@

$(LIGHT): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(LOWEST_INSTALLED): pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e ".[$(TESTED_EXTRAS)]"
	@touch $@

clean: ## Remove all environments and caches
	rm -rf $(VENV) $(LOWEST) $(OTHERS) $(FRAMEWORKS) $(NODE) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
