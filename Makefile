# Everything a developer runs. `make` alone lists the targets; each prepares .venv first where it needs to.

# Any Python 3.11, 3.12 or 3.13, by name, path or version. Empty: the one .venv was made with, else the first that fits
# (tools/find-python).
PYTHON ?=
# Passed on to what bench, test and the like run: make test ARGS="tests/host -x"
ARGS ?=

VENV := .venv
VERSIONS := 3.11 3.12 3.13
RUN := $(VENV)/bin
UV_VERSION := 0.13.9
SOURCES = $(wildcard codemode_protocol codemode_host codemode_client tests examples benchmarks docs tools)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check format bench docs interop soak fuzz mutants lock build clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-9s %s\n' "$$name" "$$text"; done

setup: ## .venv with the pinned packages; does nothing when it is up to date
	@python=$$(tools/find-python "$(PYTHON)" $(VENV)) && "$$python" tools/setup.py $(VENV)

demo: setup ## the main job on this repository's own files
	@$(RUN)/python examples/demo.py $(ARGS)

# What a single target needs is installed by it, once for each version of its lock.
INSTALL_LOCK = cmp -s requirements/$(1).txt $(VENV)/$(1).txt || { $(RUN)/python -I -m pip -qq --disable-pip-version-check \
	--no-input install --no-deps --only-binary=:all: --require-hashes -r requirements/$(1).txt \
	&& cp requirements/$(1).txt $(VENV)/$(1).txt; }

USUAL := not interop and not soak and not fuzz
ifeq ($(ARGS),)
test: setup ## all tests; every branch of codemode_protocol must be covered
	$(RUN)/coverage run -m pytest -m "$(USUAL) and covered" tests/protocol
	$(RUN)/coverage report
	$(RUN)/python -m pytest -m "$(USUAL) and not alone and not covered" --numprocesses auto --maxprocesses 4 \
		--dist worksteal
	$(if $(filter no,$(ALONE)),,$(RUN)/python -m pytest -m "$(USUAL) and alone" tests/host tests/e2e)
else
test: setup
	$(RUN)/python -m pytest $(ARGS)
endif

# Times are bounded on one of them: that is about the machine, not about Python.
test-all: test ## the same, then on each other supported Python of this machine, in build/venv-VERSION
	@own=$$($(RUN)/python -c "import sys; print('%d.%d' % sys.version_info[:2])"); \
	for version in $(VERSIONS); do \
		[ $$version != $$own ] || continue; \
		python=$$(tools/find-python $$version build/venv-$$version 2>&1) || { echo "$$python"; continue; }; \
		echo "make test on Python $$version"; \
		$(MAKE) --no-print-directory test VENV=build/venv-$$version PYTHON="$$python" ALONE=no || exit; done

# What callers see and write is checked by both checkers: the packages' public names, the examples, and the programs of
# README.md and docs/, which tools/programs.py takes out of the pages. `--verifytypes` finds packages by the path's python.
check: setup ## formatter, linters, spelling and type checkers, changing nothing
	$(RUN)/ruff format --check --quiet $(SOURCES)
	$(RUN)/ruff check --quiet $(SOURCES)
	$(RUN)/python tools/lint_javascript.py
	$(RUN)/codespell $(SOURCES) *.md Makefile pyproject.toml
	$(RUN)/python tools/programs.py
	MYPYPATH=build/programs $(RUN)/mypy $(SOURCES) build/programs
	@$(call INSTALL_LOCK,types)
	$(RUN)/basedpyright
	@for package in codemode_protocol codemode_client codemode_host; do \
		found=$$(PATH="$(CURDIR)/$(RUN):$$PATH" $(RUN)/basedpyright --verifytypes $$package --ignoreexternal) \
			|| { printf '%s\n' "$$found"; exit 1; }; done

format: setup ## let formatter and linter put right what they can
	$(RUN)/ruff format $(SOURCES)
	$(RUN)/ruff check --fix $(SOURCES)

bench: setup ## measure beside the reference host; a table, JSON and a picture
	@$(call INSTALL_LOCK,bench) || echo "the plot library could not be installed: there will be no picture"
	$(RUN)/python benchmarks/run.py $(ARGS)

docs: setup ## the documentation as a site, in site/
	@$(call INSTALL_LOCK,docs)
	@$(RUN)/python -m sphinx -W --keep-going --quiet -b html -d build/docs docs site $(ARGS)
	@echo "site/index.html"

interop: setup ## compare with the reference host, fetched by npm into .reference/
	$(RUN)/python -m pytest -m interop $(or $(ARGS),tests)

soak: setup ## minutes of load
	$(RUN)/python -m pytest -m soak -o faulthandler_timeout=1800 $(or $(ARGS),tests)

fuzz: setup ## 10,000 composed scripts on a host, and property tests with many more examples
	HYPOTHESIS_PROFILE=fuzz $(RUN)/python -m pytest -m "(fuzz or hypothesis) and not interop and not soak" \
		-o faulthandler_timeout=86400 $(or $(ARGS),tests)

mutants: setup ## break the code in one place at a time: which changes does no test notice?
	@$(RUN)/python tools/mutants.py $(ARGS)

UV_COMPILE = build/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
lock: setup ## pin the newest versions that pyproject.toml allows, with hashes
	$(RUN)/python -m venv --clear build/uv
	build/uv/bin/python -m pip install -qq --disable-pip-version-check --no-input uv==$(UV_VERSION)
	$(UV_COMPILE) pyproject.toml --group dev --output-file requirements/dev.txt
	$(UV_COMPILE) pyproject.toml --constraint requirements/dev.txt --output-file requirements/runtime.txt
	$(UV_COMPILE) --constraint requirements/dev.txt --group bench --output-file requirements/bench.txt
	$(UV_COMPILE) --constraint requirements/dev.txt --group docs --output-file requirements/docs.txt
	$(UV_COMPILE) --constraint requirements/dev.txt --group types --output-file requirements/types.txt

build: setup ## sdist and wheel in dist/
	$(RUN)/python -m hatchling build

clean: ## remove what was built, fetched or measured, .venv included
	rm -rf $(VENV) .setup.lock build dist site htmlcov .reference benchmarks/results
	rm -rf .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
