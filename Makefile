# Everything runs in .venv; `make` alone lists the targets. README.md says how to do without make.

VENV ?= .venv
BIN := $(VENV)/bin
# The first of these that runs and is 3.11 or 3.12; say PYTHON=... to choose another.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3 python,\
	$(shell $(p) -c 'import sys; print("$(p)" * ((3, 11) <= sys.version_info < (3, 13)))' 2>/dev/null)))
WORKERS ?= 2
NOTEBOOKS = $(wildcard notebooks/*.ipynb)
# Training differs between processors, so here only what is asserted is held.
TRAINING = notebooks/04_fine_tuning.ipynb
READY := $(VENV)/.installed
HAS_PIP := $(BIN)/python -m pip --version >/dev/null 2>&1
PADDLEDET := paddledet==2.6.0
# PaddleX has needs of its own (opencv-contrib-python, numpy), so it gets its own environment.
PADDLEX_VENV ?= .venv-paddlex
PADDLEX_PINS := tests/paddlex-requirements.txt
# Rendered images that the demo models are trained on.
MODEL_IMAGES := 4000

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install quickstart test lint unit nbval lab notebooks docs demo-data demo-models \
	wheel lock paddlex-env bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(READY)  ## create .venv and install everything (the other targets do it when needed)

$(READY): requirements.lock pyproject.toml
	@$(HAS_PIP) || test -n "$(PYTHON)" || \
		{ echo "kptk needs Python 3.11 or 3.12, and none was found. Install one, or: make PYTHON=/path/to/python3.12"; exit 1; }
	$(HAS_PIP) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-deps -r requirements.lock
	$(BIN)/python -m pip install --no-deps $(PADDLEDET)
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	@touch $@

quickstart: $(READY)  ## set up, find the people in the demo images, save images and JSON
	$(BIN)/kptk predict kptk/demo/images --pipeline demo --save-path output/quickstart
	@echo
	@echo "Look at the images in output/quickstart; the numbers are in the .json files beside them."
	@echo "Next: make lab, and open 01_quick_start.ipynb."

test: lint unit nbval  ## lint, types, tests, notebooks

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope

nbval: $(READY)
	$(BIN)/python -m pytest --nbval --nbval-current-env -n $(WORKERS) --dist loadscope \
		$(filter-out $(TRAINING),$(NOTEBOOKS))
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env $(TRAINING)

lab: $(READY)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

notebooks: $(READY)  ## run the notebooks again, in place
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace $(NOTEBOOKS)
	$(BIN)/nbstripout --keep-output --keep-count \
		--extra-keys "metadata.language_info cell.metadata.execution" $(NOTEBOOKS)

docs: $(READY)  ## make the API reference from the docstrings, in output/api
	$(BIN)/pdoc --docformat google --output-directory output/api kptk kptk.analysis \
		kptk.evaluation kptk.coco kptk.skeleton kptk.serving kptk.video

demo-data: $(READY)  ## render data/demo again
	$(BIN)/python -m tools.render.make --demo --out data/demo

demo-models: $(READY)  ## train the demo models again (hours; stops and resumes)
	$(BIN)/python -m tools.render.make --out .cache/demo-train --train $(MODEL_IMAGES) --seed 102
	$(BIN)/python -m tools.train configs/train/demo-det.yml runs/demo-det
	$(BIN)/python -m tools.train configs/train/demo-kpt.yml runs/demo-kpt
	$(BIN)/python -m tools.pack runs/demo-det/best.npz PP-YOLOE-S_human \
		kptk/demo/models/demo-det 320 320
	$(BIN)/python -m tools.pack runs/demo-kpt/best.npz PP-TinyPose_128x96 \
		kptk/demo/models/demo-kpt 128 96

wheel: $(READY)  ## build the wheel and run it in an empty environment, without Paddle
	rm -rf build dist output/wheel
	$(BIN)/python -m build --wheel --no-isolation
	$(BIN)/python -m venv output/wheel/venv
	output/wheel/venv/bin/python -m pip install -c requirements.lock dist/*.whl
	cd output/wheel && venv/bin/kptk predict --pipeline demo --save-path result \
		"$(CURDIR)/kptk/demo/images"

lock: $(READY)  ## write requirements.lock from what is installed
	$(BIN)/python tools/lock.py

paddlex-env: $(PADDLEX_VENV)/.installed  ## PaddleX itself in an environment of its own, to compare with

$(PADDLEX_VENV)/.installed: $(PADDLEX_PINS)
	test -x $(PADDLEX_VENV)/bin/python || $(PYTHON) -m venv $(PADDLEX_VENV)
	$(PADDLEX_VENV)/bin/python -m pip install -r $(PADDLEX_PINS)
	@touch $@

bench: $(READY) paddlex-env  ## measure kptk against PaddleX and the bare engines: benchmarks/RESULTS.md
	$(BIN)/python benchmarks/all.py

clean:  ## remove what can be made again, except the environments
	rm -rf build dist output *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage
	find kptk tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
