# The verbs of this project. `make run` and `make test` set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core
DEV := $(VENV)/.dev
PLUGINS := $(wildcard plugins/*_backend)
NATIVE := native/pyproject.toml $(wildcard native/*.py native/*/*.[ch])
ENGINES := $(wildcard plugins/*_backend/hatch_build.py plugins/*_backend/native/*.[ch])

# Tests that share no machine-wide thing, on all processors; a file's tests stay together.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
QUICK := not root and not container and not containerd and not guests and not engines and not compiler and not slow

.DEFAULT_GOAL := help
.PHONY: help run test test-setup test-quick test-times test-kubernetes cluster cluster-down kubernetes test-versions fuzz soak engines bench bench-quick check fix protos cover docs docs-serve man pictures wheels packages release-check release clean

help: ## show this
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 17

run: $(CORE) ## run a WebAssembly program in a container, through the real shim
	@$(BIN)/pelagos run examples/hello.wat

ifdef TESTS
test: test-setup
	@PYTHON=$(BIN)/python sh scripts/run-tests $(TESTS)
else
test: test-setup ## install what the tests need and run them all (half an hour), or those of TESTS='words for pytest'
	@echo "== 1 of 3: the quick tests, about two minutes on two processors"
	@PYTHON=$(BIN)/python sh scripts/run-tests --part quick $(PARALLEL)
	@echo "== 2 of 3: containers, containerd, other kernels: about twenty minutes"
	@PYTHON=$(BIN)/python sh scripts/run-tests --part rest
	@echo "== 3 of 3: WasmEdge, Wasmer, Wasmtime's program (\`make engines\` gets them): about five minutes"
	@PYTHON=$(BIN)/python sh scripts/run-tests --part engines
	@echo "A cluster's tests are \`make test-kubernetes\`."
endif

test-quick: $(DEV) ## the tests that need no root, no container and no download: under two minutes
	@PYTHON=$(BIN)/python sh scripts/run-tests -m "$(QUICK)" $(PARALLEL) $(TESTS)

test-times: test-setup ## what costs most, by test and by file, of all tests or of TESTS='words for pytest'
	@PYTHON=$(BIN)/python sh scripts/run-tests -q --durations=30 --durations-min=1 $(TESTS)

test-setup: $(DEV) ## get containerd 1.6, 1.7, 2.x and 2.4 side by side, build `crictl` and the test programs
	@$(BIN)/python -m tests.support.provision

test-kubernetes: test-setup kubernetes ## a cluster of one node, and what its users do; containerd 2.4, or KUBERNETES_CONTAINERD=bookworm
	@PYTHON=$(BIN)/python sh scripts/run-tests tests/kubernetes $(TESTS)

cluster: test-setup kubernetes ## bring a cluster up to play with; `make cluster-down` leaves nothing of it
	@$(BIN)/python -m tests.kubernetes up

cluster-down: ## end that cluster and remove all of it
	@$(BIN)/python -m tests.kubernetes down

kubernetes: $(CORE) ## build the programs of a cluster (10 minutes of processor time, once)
	@$(BIN)/python -m tests.support.provision kubernetes

test-versions: ## the whole suite on CPython 3.10 and 3.13, the quick tests on 3.11 and 3.12
	@sh scripts/test-versions

fuzz: test-setup ## random input and calls for an hour, or for FUZZ_SECONDS; half a minute of it is in `make test`
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-3600} $(BIN)/python -m pytest -q -s tests/fuzz

soak: test-setup ## mixed containers and kills of everything for an hour, or for SOAK_SECONDS
	@$(BIN)/python -m tests.support.soak $${SOAK_SECONDS:-3600}

engines: $(CORE) ## get the engines that pip cannot give: WasmEdge, Wasmer, Wasmtime's program (40 minutes, once)
	@$(BIN)/python scripts/engines.py

bench: $(DEV) ## measure against runc, as root: half an hour; SHIM="--shim NAME=PATH" adds another
	@$(BIN)/python -m benchmarks run $(SHIM)

bench-quick: $(DEV) ## the same in two minutes, with rough figures
	@$(BIN)/python -m benchmarks run --quick $(SHIM)

check: $(DEV) ## lint, English, types, layers, C by gcc's analyzer, generated code, coverage of the quick tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/python -m scripts.prose
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/analyse.py
	$(BIN)/python -m pytest -q tests/test_generated.py
	@$(MAKE) --no-print-directory cover

fix: $(DEV) ## format and mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

protos: $(DEV) ## generate pelagos_core/api from protos/
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=. --pyi_out=. protos/pelagos_core/api/*.proto

cover: $(DEV) ## branch coverage of the quick tests
	@rm -rf build/coverage && mkdir -p build/coverage
	@PYTHON="$(BIN)/python -m coverage run" sh scripts/run-tests --part quick $(PARALLEL)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report --skip-covered --sort=cover

docs: $(DEV) ## build the documentation's site into build/site
	@$(BIN)/python -m scripts.site

pictures: $(DEV) ## draw the pictures of the documents again
	@$(BIN)/python -m scripts.pictures
	@$(BIN)/python -m scripts.screens
	@$(BIN)/python -m scripts.cast

man: $(DEV) ## make the manual pages, into build/man
	@$(BIN)/python -m scripts.man

docs-serve: docs ## the same, and serve it to this machine at http://127.0.0.1:8000
	@$(BIN)/python -m http.server -b 127.0.0.1 -d build/site 8000

wheels: $(DEV) ## build every source archive and wheel, those with compiled parts for x86_64 and aarch64, into dist
	@$(BIN)/python -m scripts.release build

release-check: $(DEV) ## the same twice, then check the files, and run containers from them on CPython 3.10 to 3.13 (ten minutes)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[release]'
	@$(BIN)/python -m scripts.release check $(PYTHONS:%=--python %)

release: $(DEV) ## give the changelog VERSION and today's date, commit, tag (see RELEASING.md)
	@$(BIN)/python -m scripts.release cut "$(VERSION)"

packages: wheels ## build what nodes without pip are given: archives, Debian packages, installers' images, into dist
	@$(BIN)/python -m scripts.node_packages

clean: ## remove the environment and what was built
	rm -rf $(VENV) build dist native/pelagos_native/bin plugins/*_backend/*_backend/bin .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.made:
	@PYTHON="$(PYTHON)" sh scripts/make-venv $(VENV)
	@touch $@

$(CORE): $(VENV)/.made pyproject.toml plugins/wasmtime_backend/pyproject.toml $(NATIVE) $(ENGINES)
	@echo "installing pelagos and the Wasmtime backend into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e . -e plugins/wasmtime_backend -e native
	@touch $@

$(DEV): $(CORE) $(patsubst %,%/pyproject.toml,$(PLUGINS))
	@echo "installing what the tests need into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev,docs,guests]' $(patsubst %,-e %,$(PLUGINS))
	@touch $@
