# One command for everything. Needs Python 3.11 or later with pip, git and make; everything else
# is fetched from the package index into two environments of this directory.

PYTHON ?= python3
DEV := .venv
TOOL := .venv-tool
SOURCES := pyproject.toml README.md $(shell find src -type f -not -path '*/__pycache__/*')

.PHONY: help example test soak bench lint types format check clean

help:
	@echo 'make example   download a small scientific project, install it with the network off, run it'
	@echo 'make test      run the tests, as many at a time as there are processors;'
	@echo '               T="-k layers -x" passes options to pytest, T="-n 0 -s" shows what is printed'
	@echo 'make soak      carry out the fault sweeps at full count, hours of it; T="--only kills" does one'
	@echo 'make bench     measure beside the peers, as root, with nginx, aria2 and iproute2'
	@echo 'make check     lint, types and tests'
	@echo 'make format    put the sources into the house format'
	@echo 'make clean     remove what the commands above made'

example: $(TOOL)/ready
	@examples/workflow/offline.sh "$(CURDIR)/$(TOOL)/bin"

test: $(DEV)/ready
	$(DEV)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(T)

soak: $(DEV)/ready
	$(DEV)/bin/python -m tests.soak $(T)

bench: $(DEV)/ready
	$(DEV)/bin/python -m benchmarks $(T)

lint: $(DEV)/ready
	$(DEV)/bin/ruff check
	$(DEV)/bin/ruff format --check

types: $(DEV)/ready
	$(DEV)/bin/mypy

format: $(DEV)/ready
	$(DEV)/bin/ruff check --fix
	$(DEV)/bin/ruff format

check: lint types test

clean:
	rm -rf $(DEV) $(TOOL) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	cd examples/workflow && rm -rf .venv dist uv.lock plot.png

# Debian puts `ensurepip` into a package of its own, so the pip that is there fills environments
# from outside.
$(TOOL)/ready: $(SOURCES)
	@echo 'Installing uv-archive and its dependencies into $(TOOL)'
	@test -x $(TOOL)/bin/python || $(PYTHON) -m venv --without-pip $(TOOL)
	@$(PYTHON) -m pip --python $(TOOL)/bin/python install --quiet .
	@touch $@

$(DEV)/ready: pyproject.toml
	test -x $(DEV)/bin/python || $(PYTHON) -m venv --without-pip $(DEV)
	$(PYTHON) -m pip --python $(DEV)/bin/python install --quiet --editable .
	$(DEV)/bin/uv pip install --quiet --python $(DEV)/bin/python --group dev
	touch $@
