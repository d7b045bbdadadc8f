# One word a task, the same on a laptop and in CI. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
# A command that compiles itself at every start is slow, and the tests start many.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin

.PHONY: help demo test test-parts test-node test-quick fuzz check bench bench-cluster sbom docs parts packages container cluster lock clean

help: ## list the words
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 15

demo: $(VENV)/run.stamp ## pin a tag, move it, lose the registry: all on this machine
	$(BIN)/moorage demo

test: check parts container ## everything: checks, and all tests with their real parts, in a real cluster too
	$(BIN)/python -m pytest $(QUICK)
	@echo "Beside each other, about 8 minutes; each is printed when it is over:"
	$(MAKE) --jobs=3 $(SYNCED) test-parts test-node fuzz FUZZ_SECONDS=60 FUZZ_SEED=1

# An older make mixes what they print.
SYNCED := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

test-parts: parts ## tests that need built parts: registries, control planes, a browser
	$(BIN)/python -m pytest -m "parts or cluster"

test-node: parts container ## tests on a real node; left out loudly where it cannot be (root, Linux), never in CI
	$(BIN)/python -m tests.cluster.real --or-leave-out $(BIN)/python -m pytest tests/cluster/node

test-quick: $(VENV)/dev.stamp ## tests that need no built parts and no cluster, with fewer examples a property
	$(BIN)/python -m pytest $(QUICK) --hypothesis-profile quick

# Those hold nothing that runs without parts, and take a second and more of each worker to read.
QUICK := -n auto --dist worksteal --ignore tests/cluster --ignore tests/real --ignore tests/page/test_browser.py -m "not parts and not cluster"

FUZZ_SECONDS ?= 600
fuzz: $(VENV)/dev.stamp ## try inputs that strangers write, FUZZ_SECONDS=600; what fails is kept in tests/fuzz/corpus
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(if $(FUZZ_SEED),--seed $(FUZZ_SEED))

check: $(VENV)/dev.stamp ## lint, format, types, import contracts, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry webhook

bench: $(VENV)/dev.stamp ## measure beside a bare Go webhook; writes docs/performance.md (needs wrk, about 6 minutes)
	$(BIN)/python -m tests.parts floor vegeta
	$(BIN)/python -m tests.bench --write docs/performance.md

bench-cluster: parts ## measure in a real cluster; writes docs/performance.md (about 8 minutes)
	$(BIN)/python -m tests.bench --only cluster steady --write docs/performance.md

sbom: $(VENV)/dev.stamp ## tell what the image holds besides its base, as CycloneDX: dist/moorage.cdx.json
	$(BIN)/python -m tests.parts.sbom dist/moorage.cdx.json

docs: $(VENV)/dev.stamp ## write what is made from other files: reference pages, deploy/install.yaml
	$(BIN)/python -m webhook.reference_pages || true
	$(BIN)/kubectl kustomize deploy/base > deploy/install.yaml

parts: $(VENV)/dev.stamp ## build the real parts that tests use, once (Kubernetes too: about 15 minutes)
	$(BIN)/python -m tests.parts

packages: $(VENV)/dev.stamp ## install what the real cluster needs of Debian (as root)
	$(BIN)/python -m tests.parts.debian

container: $(VENV)/dev.stamp
	$(BIN)/python -m tests.parts.container --or-leave-out

cluster: parts container ## a shell in a real cluster with Moorage installed, and things to try (as root)
	$(BIN)/python -m tests.cluster.real $(BIN)/python -m tests.cluster.shell

lock: $(VENV)/dev.stamp ## pin all dependencies anew, with hashes
	$(BIN)/uv pip compile $(LOCK) -o requirements/clouds.txt pyproject.toml --extra clouds --group build
	$(BIN)/uv pip compile $(LOCK) -o requirements/run.txt -c requirements/clouds.txt pyproject.toml --group build
	$(BIN)/uv pip compile $(LOCK) -o requirements/dev.txt -c requirements/clouds.txt pyproject.toml --extra clouds --group build --group test --group check
LOCK := -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

clean: ## remove the virtual environment and what tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

$(VENV)/run.stamp: requirements/run.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/run.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	touch $@
