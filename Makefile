# They need Python 3.11 or newer (with venv), g++ and make, and install the rest into build/ and
# .venv/. To use another interpreter: make test PYTHON=python3.12
# To use another torch, in an environment of its own: make test TORCH=2.15.0

PYTHON ?= python3
PINNED := 2.13.0
TORCH  := $(PINNED)
VERSIONS := $(PINNED) 2.14.1 2.15.0
PIP    := -m pip --disable-pip-version-check --quiet

DEMO := build/demo
GALLERY := build/gallery
RESULTS := build/tests/$(TORCH)
VENV := .venv$(if $(filter-out $(PINNED),$(TORCH)),-$(TORCH))

# What shows in some minutes whether builds fit another torch: the tables of what is used of it, what
# passes make of graphs, and wheels with kernels and of models of many kinds.
ABOUT_TORCH := tests/unit/passes $(addprefix tests/unit/steps/test_,torch_parts.py \
  inductor_options.py hints.py proofs.py suppositions.py torch_export.py shapes_spec.py cxx.py \
  kept_memory.py small_headers.py) $(addprefix tests/wheels/test_,torch_parts.py shapes_spec.py \
  wheel.py zoo.py passes.py)

KERNELS := $(wildcard aotbuild/passes/*/*.h aotbuild/engine/*.[ch] aotbuild/c_interface/*.[ch] \
  aotbuild/steps/verify/*.c \
  aotbuild/standalone/*.h aotbuild/standalone/*.cpp aotbuild/standalone/*/*.h \
  aotbuild/standalone/*/*.cpp tests/unit/passes/*.cpp tests/standalone/*.cpp)

.DEFAULT_GOAL := help
.PHONY: help demo docs gallery test test-torch test-docs versions lint unit sanitize audit fuzz export-db generate venv bench bench-docs bench-venv clean

## help: show these lines
help:
	@sed -n 's/^## \([a-z-]*\): /\1|/p' $(firstword $(MAKEFILE_LIST)) \
	  | awk -F '|' '{ printf "make %-11s %s\n", $$1, $$2 }'

## demo: build the example's wheels as a user does, install them elsewhere, predict with them
demo:
	rm -rf $(DEMO)
	$(PYTHON) -m venv $(DEMO)/env
	@echo "--- the wheel of aotbuild"
	$(DEMO)/env/bin/python $(PIP) wheel --no-deps --wheel-dir $(DEMO)/aotbuild .
	@echo "--- the wheel of the example, built in isolation"
	$(DEMO)/env/bin/python $(PIP) wheel --no-deps --find-links $(DEMO)/aotbuild \
	  --wheel-dir $(DEMO)/dist ./example_project
	@echo "--- the same models for torch, installed where there is neither aotbuild nor the source"
	AOTBUILD_PROFILE=torch $(DEMO)/env/bin/python $(PIP) wheel --no-deps \
	  --find-links $(DEMO)/aotbuild --wheel-dir $(DEMO)/torch ./example_project
	$(DEMO)/env/bin/python $(PIP) install torch==$(TORCH) "$$(ls $(DEMO)/torch/digits-*.whl)[demo]"
	mkdir $(DEMO)/run
	cp -r example_project/predict.py example_project/reference $(DEMO)/run
	cd $(DEMO)/run && ../env/bin/python -P predict.py --reference reference --expect-clean \
	  --save saved
	@echo "--- the wheel of the example, installed where there is Python and nothing else"
	$(PYTHON) -m venv $(DEMO)/plain
	$(DEMO)/plain/bin/python $(PIP) install $(DEMO)/dist/digits-*.whl
	@echo "--- the same from C++, without Python"
	$(PYTHON) -m venv $(DEMO)/tools
	$(DEMO)/tools/bin/python $(PIP) install cmake
	$(DEMO)/tools/bin/cmake -S example_project/cpp -B $(DEMO)/cpp -DCMAKE_BUILD_TYPE=Release \
	  -Ddigits_DIR="$$($(DEMO)/plain/bin/python -m digits.models --cmake-dir)"
	$(DEMO)/tools/bin/cmake --build $(DEMO)/cpp
	$(DEMO)/cpp/predict $(DEMO)/run/saved/images.bin > $(DEMO)/run/digits.txt
	cp example_project/predict_plain.py $(DEMO)/run
	cd $(DEMO)/run && ../plain/bin/python -P predict_plain.py saved --digits digits.txt

## test: everything that CI runs: lint, types, unit tests, and tests that build wheels
test: venv
	$(MAKE) --jobs 2 --output-sync=target $(if $(filter $(PINNED),$(TORCH)),lint) unit
	$(VENV)/bin/pytest tests/wheels tests/standalone -n 2 --dist loadfile --no-loadscope-reorder \
	  --junitxml=$(RESULTS)/wheels.xml

## test-torch: the tests that show whether builds fit a torch, make test-torch TORCH=2.14.1
test-torch: venv
	$(VENV)/bin/pytest $(ABOUT_TORCH) -n 2 --dist loadfile

## versions: build the example and the zoo with each torch, run each wheel with each (docs/compatibility.md)
versions: demo
	for torch in $(VERSIONS); do $(MAKE) venv TORCH=$$torch || exit; done
	$(VENV)/bin/python tests/versions/matrix.py --saved $(DEMO)/run/saved \
	  $(foreach torch,$(VERSIONS),$(torch)=.venv$(if $(filter-out $(PINNED),$(torch)),-$(torch))/bin/python)

## gallery: build five projects with real weights, and use their wheels where there is only numpy
gallery: venv
	rm -rf $(GALLERY)
	$(VENV)/bin/python $(PIP) install h5py
	$(VENV)/bin/python gallery/fetch.py
	$(PYTHON) -m venv $(GALLERY)/env
	$(GALLERY)/env/bin/python $(PIP) install numpy
	for project in $(sort $(wildcard gallery/*/pyproject.toml)); do \
	  project=$$(dirname $$project); \
	  PATH="$$PWD/$(VENV)/bin:$$PATH" $(VENV)/bin/python $(PIP) wheel --no-build-isolation --no-deps \
	    --wheel-dir $(GALLERY)/$$(basename $$project) $$project && \
	  $(GALLERY)/env/bin/python $(PIP) install $(GALLERY)/$$(basename $$project)/*.whl && \
	  $(GALLERY)/env/bin/python -P $$project/use.py || exit; \
	done

## test-docs: write what make test found with each torch to docs/compatibility.md
test-docs:
	$(VENV)/bin/python tests/versions/suites.py

## sanitize: call the native engine under AddressSanitizer and UBSan
sanitize: venv
	$(VENV)/bin/python tests/wheels/sanitize.py -n 2

## fuzz: build COUNT random modules and compare each with eager torch, COUNT=1000
fuzz: venv
	PYTHONPATH=tests/wheels $(VENV)/bin/python -W ignore tests/wheels/random_modules.py $(or $(COUNT),100)

## audit: errors of all operators by type and CPU level (docs/numerics.md), AUDIT="--dtypes float32"
audit: venv
	PYTHONPATH=tests/wheels $(VENV)/bin/python tests/audit/audit.py $(AUDIT)

## export-db: every supported example of torch's export database, compiled and compared
export-db: venv
	PYTHONPATH=tests/wheels $(VENV)/bin/python tests/export_db/run.py

## unit: the unit tests, against the installed wheel (make venv first)
unit:
	$(VENV)/bin/pytest tests/unit -n 2 --junitxml=$(RESULTS)/unit.xml

## bench: speed and size beside other runtimes; a part: SUITE=latency MODEL=mlp
bench: bench-venv
	$(VENV)/bin/python benchmarks/bench.py $(SUITE:%=--suite %) $(MODEL:%=--model %)

## bench-venv: install the other runtimes; one that cannot be had is left out of the tables
bench-venv: venv
	for peer in $$(grep '==' benchmarks/requirements.txt); do \
	  $(VENV)/bin/python $(PIP) install torch==$(TORCH) $$peer || echo "without $$peer"; \
	done

## bench-docs: write what was measured to docs/benchmarks.md
bench-docs:
	$(VENV)/bin/python benchmarks/report.py --docs

## lint: ruff and mypy
lint:
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/clang-format --dry-run --Werror $(KERNELS)
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy tests/unit
	$(VENV)/bin/mypy tests/wheels tests/audit tests/export_db tests/versions
	$(VENV)/bin/mypy tests/standalone

## generate: write the JSON schema and docs/reference.md anew, of the source tree
generate:
	test -x $(VENV)/bin/python || $(MAKE) venv
	$(VENV)/bin/python -m aotbuild.config.generate

## venv: install aotbuild's wheel, torch and the tools into .venv; the tests run against that wheel
venv:
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	rm -rf build/wheel
	$(VENV)/bin/python $(PIP) wheel --no-deps --wheel-dir build/wheel .
	$(VENV)/bin/python $(PIP) install torch==$(TORCH) "$$(ls build/wheel/*.whl)[test]"
	$(VENV)/bin/python $(PIP) install --no-deps --force-reinstall build/wheel/*.whl

## docs: build the site of the documentation into build/site
docs:
	test -x $(VENV)/bin/mkdocs || $(MAKE) venv
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict
	@echo "to read it, with its search: python3 -m http.server -d build/site"

## clean: remove build/ and all environments
clean:
	rm -rf build .venv .venv-*
