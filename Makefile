# Nothing needs make: CONTRIBUTING.md and README.md say the same in plain commands.
#   make demo     install into .venv and deblur the bundled stack
#   make test     install what the tests need and run every check
#   make lint | format | docs | clean
#   make fuzz | soak   broken input of all kinds (CASES=500); kills, full disks, lost
#                      workers, a minute of random clicks

# The first Python that is new enough and can make environments; or PYTHON=... make
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11 python,\
	$(shell $(p) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && echo $(p))))
VENV ?= .venv
OUT ?= demo-output
CASES ?= 500
BIN := $(VENV)/bin
# A window for what needs one, on Linux without a monitor, too.
WINDOW := $(if $(shell command -v xvfb-run 2>/dev/null),xvfb-run -a -s "-screen 0 1400x1000x24")
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
SOURCES := $(shell find src -type f ! -name '*.pyc')

# One environment: with the tests' packages (and the sources as they are) once it was set up for
# them, else with the package alone.
READY := $(if $(wildcard $(VENV)/.dev),$(VENV)/.dev,$(VENV)/.base)

.PHONY: demo test fuzz soak lint format docs clean screen
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/python -m napari_deblur demo --out $(OUT)

test: $(VENV)/.dev screen
	$(BIN)/python scripts/check.py

fuzz: $(VENV)/.dev
	NAPARI_DEBLUR_FUZZ=$(CASES) $(BIN)/python -m pytest tests/fuzz -p no:napari --timeout 14400 \
	    --hypothesis-show-statistics

soak: $(VENV)/.dev screen
	$(BIN)/python -m pytest tests/soak -m soak -p no:napari --timeout 14400 -rP
	NAPARI_DEBLUR_CLICKING=60 NAPARI_ASYNC=0 $(WINDOW) $(BIN)/python -m pytest \
	    tests/napari/test_window.py -k random_clicks --timeout 600

lint: $(VENV)/.dev
	$(BIN)/python scripts/check.py --lint

format: $(VENV)/.dev
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) $(OUT) site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	    .import_linter_cache

screen:
	@sh scripts/screen.sh

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "napari-deblur needs Python 3.11 or newer with the venv module \
	(Debian: apt-get install python3-venv), or say which: make PYTHON=/path/to/python3"; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml constraints.txt $(SOURCES) | $(BIN)/python
	@echo "installing napari-deblur into $(VENV) (the first time this takes minutes)"
	@$(PIP) .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing napari-deblur, napari and the tests' packages into $(VENV) (the first time this takes minutes)"
	@$(PIP) -e ".[all,test,docs]"
	@touch $@
