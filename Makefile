# Two commands do everything on a machine with Python 3.11 or newer:
#   make demo   the whole pipeline on real photographs       make test   the whole test suite
PYTHON ?= python3
PIP = bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
ARGS ?=

.PHONY: demo test lint bench testbed clean

demo: .venv-demo/.installed
	.venv-demo/bin/tiercut demo $(ARGS)

test: .venv-dev/.installed
	.venv-dev/bin/python -m pytest $(ARGS)

lint: .venv-dev/.installed
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy
	.venv-dev/bin/lint-imports --no-cache

bench: .venv-dev/.installed
	.venv-dev/bin/python -m bench

# Needs root: network namespaces and shaped links.
testbed: .venv-dev/.installed
	.venv-dev/bin/python -m bench testbed $(ARGS)

clean:
	rm -rf .venv-demo .venv-dev build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# An environment is made again when what it installs has changed.
.venv-%/.installed: pyproject.toml constraints.txt
	@echo "installing tiercut[$*] into .venv-$* (torch for authoring is most of it) ..."
	$(PYTHON) -m venv .venv-$*
	.venv-$*/$(PIP) -e ".[$*]"
	@touch $@
