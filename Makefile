# make demo   build the example's wheel as a user does, install it elsewhere, predict with it
# make test   lint, types, unit tests, build tests
# make sanitize   calls of the native engine under AddressSanitizer and UBSan
# make audit  compare operators with exact results, by type and CPU level, see docs/numerics.md
# make bench  speed and size beside other runtimes, see benchmarks/README.md
#             a part of it: make bench SUITE=latency MODEL=mlp
# make bench-docs   write what it measured to docs/benchmarks.md
# make generate   write the JSON schema and docs/reference.md anew, after a change of the declaration
#
# They need Python 3.11 or newer (with venv), g++ and make, and install the rest into build/ and
# .venv/. To use another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
TORCH  := torch==2.13.0
PIP    := -m pip --disable-pip-version-check --quiet

DEMO := build/demo
VENV := .venv

.PHONY: demo test sanitize audit bench bench-venv bench-docs unit venv lint generate clean

demo:
	rm -rf $(DEMO)
	$(PYTHON) -m venv $(DEMO)/env
	@echo "--- the wheel of aotbuild"
	$(DEMO)/env/bin/python $(PIP) wheel --no-deps --wheel-dir $(DEMO)/aotbuild .
	@echo "--- the wheel of the example, built in isolation"
	$(DEMO)/env/bin/python $(PIP) wheel --no-deps --find-links $(DEMO)/aotbuild \
	  --wheel-dir $(DEMO)/dist ./example_project
	@echo "--- installed where there is neither aotbuild nor scikit-build-core nor the source"
	$(DEMO)/env/bin/python $(PIP) install $(TORCH) "$$(ls $(DEMO)/dist/digits-*.whl)[demo]"
	mkdir $(DEMO)/run
	cp -r example_project/predict.py example_project/reference $(DEMO)/run
	cd $(DEMO)/run && ../env/bin/python -P predict.py --reference reference --expect-clean

test: venv
	$(MAKE) --jobs 2 --output-sync=target lint unit
	$(VENV)/bin/pytest tests/wheels -n 2 --dist loadfile --no-loadscope-reorder

sanitize: venv
	$(VENV)/bin/python tests/wheels/sanitize.py -n 2

# Of a part: make audit AUDIT="--dtypes float32 --levels x86-64-v4"
audit: venv
	PYTHONPATH=tests/wheels $(VENV)/bin/python tests/audit/audit.py $(AUDIT)

unit:
	$(VENV)/bin/pytest tests/unit -n 2

bench: bench-venv
	$(VENV)/bin/python benchmarks/bench.py $(SUITE:%=--suite %) $(MODEL:%=--model %)

# The peers one by one: one that cannot be had is left out of the tables.
bench-venv: venv
	for peer in $$(grep '==' benchmarks/requirements.txt); do \
	  $(VENV)/bin/python $(PIP) install $(TORCH) $$peer || echo "without $$peer"; \
	done

bench-docs:
	$(VENV)/bin/python benchmarks/report.py --docs

lint:
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy tests/unit
	$(VENV)/bin/mypy tests/wheels tests/audit

generate:
	test -x $(VENV)/bin/python || $(MAKE) venv
	$(VENV)/bin/python -m aotbuild.config.generate

# The tests run against the installed wheel, not the source tree.
venv:
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	rm -rf build/wheel
	$(VENV)/bin/python $(PIP) wheel --no-deps --wheel-dir build/wheel .
	$(VENV)/bin/python $(PIP) install $(TORCH) "$$(ls build/wheel/*.whl)[test]"
	$(VENV)/bin/python $(PIP) install --no-deps --force-reinstall build/wheel/*.whl

clean:
	rm -rf build $(VENV)
