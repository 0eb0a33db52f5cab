# The same commands for people and for CI. `make demo` and `make test` do all missing set-up first.
#
#   make setup TORCH_INDEX=URL     torch from this index (PyTorch lists them; there is a small build without CUDA)
#   make setup PYTHON=python3.12   another Python (3.11 or later)
#   make embedded RECIPES=gpu      train the weights that ship again, on a GPU

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_INDEX ?=
RECIPES ?= cpu
PIXELS := $(if $(filter gpu,$(RECIPES)),128,64)
WORLDS := worlds/$(PIXELS)
ROOMS ?= 16500
STYLES := blueprint ink
NETS := control-lines control-geometry control-regions control-pose control-shuffle
SHIP = $(BIN)/python recipes/embedded/ship.py $(addprefix runs/embedded/$(RECIPES)/,denoiser $(NETS))

VENV := .venv
BIN := $(VENV)/bin
# One stamp an index, so that naming another index later fetches its torch.
READY := $(VENV)/.ready$(if $(TORCH_INDEX),-$(notdir $(TORCH_INDEX:/=)))
# Bytecode is compiled when a module is first imported; compiling all of torch here would take half a minute more.
INSTALL := $(BIN)/python -m pip install --no-compile -c constraints.txt
CHROMIUMS := chromium chromium-browser google-chrome
CHROMIUM := $(firstword $(foreach name,$(CHROMIUMS),$(shell command -v $(name))))
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# Two makes at once: the second waits, and then finds the set-up done.
LOCK := $(if $(shell command -v flock),flock $(VENV)/.lock)

.PHONY: setup demo test test-slow browser browser-tests check format docs gallery bench embedded

setup: $(READY)
	@echo "Ready: $(BIN)/underdraw --help"

ifndef UNDERDRAW_LOCKED
$(READY): pyproject.toml constraints.txt
	@mkdir -p $(VENV)
	@$(LOCK) $(MAKE) --no-print-directory UNDERDRAW_LOCKED=1 $(READY)
else
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; install it, or say where: make setup PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] + "; say which: make setup PYTHON=...")'
	@echo "Setting up $(VENV) with the tested versions (once; a minute or two and the download of torch)"
	$(PYTHON) -m venv $(VENV)
	@rm -f $(VENV)/.ready*
	$(if $(TORCH_INDEX),$(INSTALL) --upgrade --extra-index-url $(TORCH_INDEX) torch)
	$(INSTALL) -e '.[dev]'
	@touch $(VENV)/.ready $@
endif

demo: $(READY)
	$(BIN)/underdraw demo

test: $(READY)
	$(BIN)/python -m pytest

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow
	@if [ -n "$(CHROMIUM)" ]; then $(MAKE) --no-print-directory browser-tests; \
	else echo "The page was not tested: there is no Chromium here (make browser installs Debian's)"; fi

# The page, in a real browser. Where there is none and apt is there, Debian's is installed (as root, or by sudo).
browser: $(READY)
	@test -n "$(CHROMIUM)" || { command -v apt-get >/dev/null \
		|| { echo "Chromium is needed; install it by your system's ways"; exit 1; }; \
		$(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends chromium fonts-noto-cjk; }
	@$(MAKE) --no-print-directory browser-tests

browser-tests: $(READY)
	$(BIN)/python -m pytest -m browser tests/browser

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/laws/test_floors.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)
	$(BIN)/python -m docs.make
	$(BIN)/python -m docs.ablated

gallery: $(READY)
	$(BIN)/python -m docs.gallery

bench: $(READY)
	$(BIN)/python -m bench.step
	$(BIN)/python -m bench.annotators

# Both worlds, every recipe in order, and then the package's weights; the styles' LoRAs learn on those. What
# is there already is not made again, and a training that was stopped goes on. The CLIP and the readers stay with the
# runs: they are judges, and do not ship; the single nets for canny and depth are what the families' nets start from.
embedded: $(WORLDS)/prepared/rooms/dataset.json $(WORLDS)/prepared/stickers/dataset.json
	for run in vae clip denoiser control-canny control-depth $(NETS) reader judge; do \
		$(BIN)/underdraw train recipes/embedded/$(RECIPES)/$$run.toml || exit; \
	done
	$(SHIP)
	for style in $(STYLES); do \
		test -e $(WORLDS)/$$style/metadata.jsonl || $(BIN)/python recipes/styles.py \
			$$style $(WORLDS)/stickers $(WORLDS)/rooms $(WORLDS)/$$style || exit; \
		$(BIN)/underdraw train recipes/lora-$$style.toml 'data.folders=["$(WORLDS)/'$$style'"]' || exit; \
	done
	$(SHIP) $(STYLES:%=runs/lora-%)

# A world in shards, as ControlNets read it: in bounded memory, mirrored as well, with the poses of rooms drawn. Maps that
# a world does not bring are found while a net learns.
$(WORLDS)/prepared/%/dataset.json: $(WORLDS)/%/metadata.jsonl | $(READY)
	$(BIN)/underdraw prepare $(WORLDS)/$* -o $(@D) --size $(PIXELS) --no-bucket --step 32 --duplicates exact

# Seeds from 20,000 on are for training; the 500 before them are watched while it goes on.
$(WORLDS)/rooms/metadata.jsonl: | $(READY)
	$(BIN)/underdraw scenes $(ROOMS) --seed 19500 --size $(PIXELS)x$(PIXELS) -o $(@D)

$(WORLDS)/stickers/metadata.jsonl: | $(READY)
	$(BIN)/underdraw stickers --size $(PIXELS)x$(PIXELS) -o $(@D)
