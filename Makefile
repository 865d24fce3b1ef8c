# Everything a developer or continuous integration runs. Each target makes what it needs: system
# packages (through apt where it may, else it says which), .venv, the build. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
TESTS ?= tests
BENCH_ARGS ?=
PEER_ARGS ?=
# None: every CPython that can be had, JIT off and on.
PYTHONS ?=
MATRIX_ARGS ?=
BIN := $(CURDIR)/$(VENV)/bin
export PYTHON VENV
# Meson and Ninja come from .venv; nothing of a caller's Python set-up may leak into the tests.
export PATH := $(BIN):$(PATH)
unexport PYTHONPATH PYTHONHOME PYTEST_ADDOPTS

# One line per build folder instead of Meson's fifty; those are in its meson-logs.
setup = @echo "setting up $(@D)" && mkdir -p build && CC=$(1) meson setup -Dwerror=true
QUIET = >$(@D).log 2>&1 || { cat $(@D).log; exit 1; }
# Folders of C test binaries that tests/core runs: label=folder, comma separated.
CORE_BUILDS := plain=build/gcc,asan=build/asan,tsan=build/tsan,coverage=build/coverage

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: env env-test env-lint env-system
env:
	@tools/bootstrap.sh build
env-test:
	@tools/bootstrap.sh test
env-system:
	@tools/bootstrap.sh system
env-lint:
	@tools/bootstrap.sh lint

.PHONY: wheel install sdist
wheel: env  ## build the wheel into dist/
	@rm -rf dist && mkdir -p dist
	$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation \
	    --config-settings=build-dir=build/wheel --config-settings=setup-args=-Dwerror=true -w dist .
sdist: env  ## build the source distribution of the last commit into dist/
	@mkdir -p dist
	PYTHONPATH=tools/backend $(BIN)/python -c 'import build_backend; print(build_backend.build_sdist("dist"))'
install: wheel  ## install that wheel into .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --force-reinstall dist/*.whl

.PHONY: demo
demo: install  ## run the example project with pytest --memray and check its verdicts
	@$(BIN)/python -P examples/demo.py

.PHONY: test check
test: lint core-builds coverage-clean check coverage-bar test-oldest  ## lint, then all tests against the installed wheel (what CI runs)

# From a folder of its own: nothing of the source tree may stand in for the installed wheel.
RUN_TESTS = cd build/run && CMEMRAY_TEST_INSTALLED=1 $(BIN)/python -P -m pytest -c $(CURDIR)/pyproject.toml --rootdir=$(CURDIR)
test: export CMEMRAY_CORE_BUILDS = $(CORE_BUILDS)
check: env-test install build/gcc/build.ninja build/micro/build.ninja  ## tests against the installed wheel: make check TESTS=tests/plugin PYTEST_ARGS="-k limit -x"
	@ninja --quiet -C build/gcc
	@ninja --quiet -C build/micro bench/micro/micro_events
	@mkdir -p build/run
	$(RUN_TESTS) -n 2 --dist loadgroup $(PYTEST_ARGS) $(addprefix $(CURDIR)/,$(TESTS))

build/micro/build.ninja: | env-test
	$(call setup,gcc) build/micro -Dpython=disabled -Db_ndebug=true $(QUIET)

.PHONY: core-builds asan tsan valgrind coverage coverage-clean coverage-bar unit
build/gcc/build.ninja: | env-test
	$(call setup,gcc) build/gcc -Dcore_tests=enabled $(QUIET)
build/clang/build.ninja: | env-lint
	$(call setup,clang) build/clang -Dcore_tests=enabled $(QUIET)
build/asan/build.ninja: | env-test
	$(call setup,gcc) build/asan -Dpython=disabled -Db_sanitize=address,undefined -Dc_args=-fno-sanitize-recover=all $(QUIET)
build/tsan/build.ninja: | env-test
	$(call setup,gcc) build/tsan -Dpython=disabled -Db_sanitize=thread $(QUIET)
build/coverage/build.ninja: | env-test
	$(call setup,gcc) build/coverage -Dpython=disabled -Db_coverage=true -Doptimization=0 $(QUIET)

core-builds: build/gcc/build.ninja build/asan/build.ninja build/tsan/build.ninja build/coverage/build.ninja
	@for b in gcc asan tsan coverage; do ninja --quiet -C build/$$b; done

unit: build/gcc/build.ninja  ## C unit tests of the core
	@ninja --quiet -C build/gcc
	CMEMRAY_CORE_BUILDS=plain=build/gcc $(BIN)/python -P -m pytest -p no:memray $(PYTEST_ARGS) tests/core
asan: build/asan/build.ninja  ## the same under AddressSanitizer and UndefinedBehaviorSanitizer
	@ninja --quiet -C build/asan
	CMEMRAY_CORE_BUILDS=asan=build/asan $(BIN)/python -P -m pytest -p no:memray $(PYTEST_ARGS) tests/core
tsan: build/tsan/build.ninja  ## the same under ThreadSanitizer
	@ninja --quiet -C build/tsan
	CMEMRAY_CORE_BUILDS=tsan=build/tsan $(BIN)/python -P -m pytest -p no:memray $(PYTEST_ARGS) tests/core
valgrind: build/gcc/build.ninja  ## the same under valgrind's memcheck
	@command -v valgrind >/dev/null || { echo "needed: valgrind"; exit 1; }
	@ninja --quiet -C build/gcc
	CMEMRAY_CORE_BUILDS=plain=build/gcc \
	    CMEMRAY_CORE_UNDER="valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --suppressions=$(CURDIR)/tests/core/valgrind.supp" \
	    $(BIN)/python -P -m pytest -p no:memray $(PYTEST_ARGS) tests/core

# Python itself is not instrumented: the runtimes are preloaded, and Python's own leaks at its end are not ours.
.PHONY: asan-python
ASAN_TESTS ?= $(addprefix tests/,binding library plugin regression property integration numbers)
asan-python: env-test  ## the tests of Python with a sanitized extension in a process with libasan
	@[ -x build/asan-python/bin/pip ] || $(PYTHON) -m venv build/asan-python
	@build/asan-python/bin/pip install -q --disable-pip-version-check -r tools/requirements/build.txt -r tools/requirements/test.txt
	@build/asan-python/bin/pip install -q --disable-pip-version-check --only-binary=:all: numpy greenlet gevent || true
	@rm -rf build/asan-dist
	CC=gcc PATH=$(CURDIR)/build/asan-python/bin:$$PATH build/asan-python/bin/pip wheel -q --disable-pip-version-check --no-deps \
	    --no-build-isolation --config-settings=build-dir=build/asan-wheel \
	    --config-settings=setup-args=-Db_sanitize=address,undefined -w build/asan-dist .
	@build/asan-python/bin/pip install -q --disable-pip-version-check --no-deps --force-reinstall build/asan-dist/*.whl
	@mkdir -p build/run
	cd build/run && ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	    LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	    CMEMRAY_TEST_INSTALLED=1 CMEMRAY_TEST_SANITIZED=1 ../asan-python/bin/python -P -m pytest \
	    -c $(CURDIR)/pyproject.toml --rootdir=$(CURDIR) -p no:memray -n 2 $(PYTEST_ARGS) $(addprefix $(CURDIR)/,$(ASAN_TESTS))

coverage: build/coverage/build.ninja coverage-clean  ## line coverage of csrc/core by its C tests; fails below 85 %
	@ninja --quiet -C build/coverage
	CMEMRAY_CORE_BUILDS=coverage=build/coverage $(BIN)/python -P -m pytest -q -p no:memray $(PYTEST_ARGS) tests/core
	@$(MAKE) --no-print-directory coverage-bar
coverage-clean:
	@find build/coverage -name '*.gcda' -delete 2>/dev/null || true
coverage-bar:
	@$(BIN)/gcovr --root . --filter csrc/core/ --fail-under-line 85 --sort uncovered-percent build/coverage

.PHONY: allocators
# In an environment of its own: a hundred megabytes of packages that nothing else needs.
allocators: wheel  ## check that the allocators inside polars and pyarrow are found
	@[ -x build/allocators/bin/pip ] || $(PYTHON) -m venv build/allocators
	@build/allocators/bin/pip install -q --disable-pip-version-check polars pyarrow hypothesis pytest-xdist
	@build/allocators/bin/pip install -q --disable-pip-version-check --force-reinstall --no-deps dist/*.whl
	@mkdir -p build/run
	cd build/run && ../allocators/bin/python -P -m pytest -c $(CURDIR)/pyproject.toml --rootdir=$(CURDIR) -p no:memray \
	    $(PYTEST_ARGS) $(addprefix $(CURDIR)/tests/,integration/test_private_allocators.py docs/test_limits.py)

.PHONY: faults
STEP ?= 1
faults: env-test install  ## refuse every single call of the tracker to the system, in a run each; make faults STEP=5 every fifth
	@mkdir -p build/run
	export CMEMRAY_FAULTS_STEP=$(STEP); $(RUN_TESTS) -n 2 $(PYTEST_ARGS) $(CURDIR)/tests/faults

.PHONY: fuzz bench suites bench-docs instructions
fuzz: env-test install  ## the property tests with 5000 random programs each
	@mkdir -p build/run
	$(RUN_TESTS) --hypothesis-profile=fuzz $(PYTEST_ARGS) $(CURDIR)/tests/property
instructions: env-test install build/micro/build.ninja  ## count instructions per event, write them into the table that tests compare with
	@ninja --quiet -C build/micro bench/micro/micro_events
	$(BIN)/python -m bench.instructions --update
	$(BIN)/python -m bench.docs --only-write
bench: env  ## one table: programs and public test suites, plain, measured and with peers; fixed costs, growth, bars
	$(BIN)/python -m bench $(BENCH_ARGS)
suites: env  ## public packages' test suites alone: outcomes and time ratios
	$(BIN)/python -m bench.suites $(BENCH_ARGS)
bench-docs: env  ## write the tables of docs/performance.md from the latest results of make bench
	$(BIN)/python -m bench.docs

.PHONY: peer-check suites-outcomes
peer-check: env-system  ## the scenarios of tests/regression with pytest-memray and with this plugin, side by side, on PYTHONS
	@for version in $(or $(filter-out %@debian %t,$(PYTHONS)),3.11); do CMEMRAY_BIND=$(CURDIR) tools/pythons.sh run $$version \
	    bash -c '"$$PYTHON" -P $(CURDIR)/tools/peer_check.py $(PEER_ARGS)' || failed=1; done; exit $${failed:-0}
suites-outcomes:  ## other people's suites, plain and measured, on PYTHONS: which tests come out otherwise
	@for version in $(filter-out %@debian %t,$(PYTHONS)); do \
	    tools/pythons.sh run $$version bash -c '"$$PYTHON" -m bench.suites.outcomes $(BENCH_ARGS)' || failed=1; \
	done; $(PYTHON) -m bench.suites.outcomes --only-write; exit $${failed:-0}

.PHONY: analyze
build/analyzer/build.ninja: | env-lint
	$(call setup,gcc) build/analyzer -Dcore_tests=disabled -Dc_args=-fanalyzer $(QUIET)
analyze: env-lint build/clang/build.ninja build/analyzer/build.ninja  ## clang-tidy and gcc -fanalyzer: minutes
	@command -v clang-tidy >/dev/null || tools/bootstrap.sh analyze
	@tools/analyze.sh

.PHONY: docs
docs: env-test  ## check that what the documents name and link to exists
	$(BIN)/python -P -m pytest -q -p no:memray $(PYTEST_ARGS) tests/docs

.PHONY: lint format
lint: env-lint build/gcc/build.ninja build/clang/build.ninja  ## compilers, layers, exports, sizes, types, style, spelling, workflows
	@tools/lint.sh
format:  ## let the formatter rewrite the Python files
	@tools/bootstrap.sh lint
	@$(BIN)/ruff check -q --fix . || true
	@$(BIN)/ruff format -q .

.PHONY: test-oldest test-matrix
# The oldest pytest that is supported; it does not run on CPython 3.14 and newer.
test-oldest: env-test install  ## the plugin's tests with the oldest supported pytest
	@tools/test_oldest.sh

test-matrix: env-system  ## wheel and every suite on every CPython, one table; PYTHONS="3.13t 3.15+jit" chooses
	@$(PYTHON) tools/test_matrix.py $(MATRIX_ARGS) $(PYTHONS)
.PHONY: matrix-list matrix-docs
TO ?=
matrix-list:  ## what make test-matrix runs, as jobs for continuous integration; TO=FILE appends it there
	@$(PYTHON) tools/test_matrix.py --list $(if $(TO),>>"$(TO)")
matrix-docs:  ## take what make test-matrix found into docs/matrix.json and docs/matrix.md
	@$(PYTHON) tools/test_matrix.py --write

.PHONY: bench-threads
bench-threads: env-system  ## plain against measured with 1, 2 and 8 threads at once: make bench-threads PYTHONS="3.13t 3.13"
	@$(PYTHON) tools/test_matrix.py --bench-threads $(PYTHONS)

SECONDS ?= 120
STRESS_ARGS ?=
.PHONY: stress
stress:  ## stress programs for so long on each CPython, 3.11 if none is named: make stress SECONDS=120 PYTHONS="3.11 3.14+jit"
	@$(PYTHON) tools/stress.py --seconds $(SECONDS) $(STRESS_ARGS) $(if $(filter file,$(origin PYTHONS)),3.11,$(PYTHONS))

.PHONY: clean
clean:  ## remove what the targets above made in this folder
	rm -rf build dist $(VENV)
