# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Needed beforehand: Python 3.11 or newer with venv. PYTHON=python3.12 chooses another one.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SHARED ?= $(or $(EGOWM_SHARED),../shared)
TUB := $(SHARED)/data/donkeycar_tub
ARGS ?=
JOBS ?= 2

# Torch's threads spin while they wait, and starve whatever else runs on a small machine.
export OMP_WAIT_POLICY ?= passive

.PHONY: help install format lint types test golden fuzz kills dist docs docs-serve check demo real tub results picture \
        results-train merge bench lent-gpu humanoid latent history encoders students arrivals tables clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv and install egowm, its dependencies, sam2 and the developer tools
	@echo "egowm is installed in $(VENV); 'source $(BIN)/activate' puts its commands on the PATH"

$(STAMP): pyproject.toml constraints.txt .ci/install
	@PYTHON="$(PYTHON)" .ci/install $(VENV)
	@touch $@

format: $(STAMP)  ## rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: $(STAMP)  ## check rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## check types
	$(BIN)/mypy

test: $(STAMP)  ## run the tests on two cores; ARGS="-m 'not slow' -k name" is passed on
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

golden: $(STAMP)  ## write the golden plans anew, after a change of planners that is meant
	$(BIN)/python -m tests.planning.write_golden

kills: $(STAMP)  ## kill every writer at every system call; ARGS="report 'run of clips'" names some
	$(BIN)/python -m tests.kills $(ARGS)

dist: $(STAMP)  ## build the wheel, install it in an empty environment elsewhere and use it there
	$(BIN)/python .ci/dist_check.py

docs: $(STAMP)  ## build the site into site/, from an empty folder: its tutorials are run (a minute)
	rm -rf .cache/tutorials
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(STAMP)  ## show the site on this machine, and follow changes of its pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# Side by side what uses one core each, its output kept together (not by the make of macOS).
TOGETHER := --no-print-directory --jobs=$(JOBS) $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

check: $(STAMP)  ## what must pass before a commit: all but the longest tests
	@$(MAKE) $(TOGETHER) dist lint types docs
	@$(MAKE) --no-print-directory test ARGS="-m 'not long' $(ARGS)"

demo: $(STAMP)  ## the main job: train, roll out, score and look, in a few minutes on a CPU
	$(BIN)/egowm demo --force $(ARGS)

real: tub $(STAMP)  ## the same on real driving video (SHARED=../shared)
	$(BIN)/egowm demo --force --real "$(TUB)" $(ARGS)

tub:  # before anything is installed: how to get the recording, if it is not here
	@[ -d "$(TUB)" ] || $(PYTHON) -c "import sys; from pathlib import Path; \
	from egowm.data.public_recordings import how_to_get; \
	sys.exit(f'make real: no folder {sys.argv[1]}. ' + how_to_get(Path(sys.argv[1])))" "$(TUB)"

results: $(STAMP)  ## score the committed models anew and rewrite the tables (10 minutes on 2 cores)
	export OMP_NUM_THREADS=1; \
	$(BIN)/python -m benchmarks.experiment.rooms --papers "$(SHARED)/data/paintings" \
	    --picture docs/rooms.png --curve docs/labels.svg & rooms=$$!; \
	$(BIN)/python -m benchmarks.experiment.ablations; \
	$(BIN)/python -m benchmarks.scs.truth; \
	if [ -d "$(SHARED)/data/tum_fr1_rpy_excerpt" ]; then \
	    $(BIN)/python -m benchmarks.scs.real "$(SHARED)/data/tum_fr1_rpy_excerpt"; fi; \
	wait $$rooms
	$(BIN)/python -m benchmarks.tables.pages

picture: $(STAMP)  ## draw the README's moving picture with the shipped model (a minute)
	$(BIN)/python -m benchmarks.experiment.picture docs/rooms.webp

results-train: $(STAMP)  ## train every run of the central experiment (a day; uses a GPU if any)
	$(BIN)/python -m benchmarks.experiment.arms --jobs $(JOBS) $(ARGS)
	$(MAKE) merge

merge: $(STAMP)  ## take new training records into the results, without scoring the exports again
	$(BIN)/python -m benchmarks.experiment.rooms --merge --picture docs/rooms.png --curve docs/labels.svg
	$(BIN)/python -m benchmarks.experiment.ablations --merge
	$(BIN)/python -m benchmarks.tables.pages

# As a user's shell has it: without this, small calls wait for sleeping threads.
bench: $(STAMP)  ## measure rollout, walks, sam2, data, training and plans; leave the machine alone
	env -u OMP_WAIT_POLICY $(BIN)/python -m benchmarks.speed.rollout $(ARGS)
	env -u OMP_WAIT_POLICY $(BIN)/python -m benchmarks.scs.speed
	$(BIN)/python -m benchmarks.data.speed
	$(BIN)/python -m benchmarks.speed.training
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.speed.rooms_step
	$(BIN)/python -m benchmarks.speed.foretold
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.speed.latency --chart docs/latency.svg
	env -u OMP_WAIT_POLICY $(BIN)/python -m benchmarks.speed.latent_cache
	env -u OMP_WAIT_POLICY $(BIN)/python -m benchmarks.speed.streaming
	env -u OMP_WAIT_POLICY $(BIN)/python -m benchmarks.speed.walking
	$(BIN)/python -m benchmarks.experiment.domain
	env -u OMP_WAIT_POLICY $(BIN)/python -m benchmarks.planning.decode_window
	env -u OMP_WAIT_POLICY $(BIN)/python -m benchmarks.planning.candidates
	$(BIN)/python -m benchmarks.planning.memory --candidates 32 320 2000 10000 --frames 1 --size 16
	$(BIN)/python -m benchmarks.tables.pages

lent-gpu: $(STAMP)  ## ten minutes on a lent GPU: ARGS="1 --out home/1", then 2 and 3 (docs/benchmarks.md)
	env -u OMP_WAIT_POLICY $(BIN)/python -m benchmarks.lent_gpu $(ARGS)

humanoid: $(STAMP)  ## train and score the humanoid's arms that are not there yet (hours): ARGS="--folder ~/halls"
	$(BIN)/python -m benchmarks.experiment.humanoid $(ARGS)
	$(BIN)/python -m benchmarks.experiment.humanoid $(ARGS) --picture docs/humanoid.webp
	$(BIN)/python -m benchmarks.tables.pages

FOLDER ?= $(HOME)/egowm-latent
latent: $(STAMP)  ## train and measure latent models and policies that are not there yet (hours): FOLDER=~/latent
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiment.latent_models --folder $(FOLDER)
	$(BIN)/python -m benchmarks.experiment.latent_depth --folder $(FOLDER)
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.planning.policies --folder $(FOLDER)/policies \
	    --rssm $(FOLDER)/rssm
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiment.daydreamer --folder $(FOLDER)/daydreamer
	$(BIN)/python -m benchmarks.tables.pages

history: FOLDER = $(HOME)/egowm-history
history: $(STAMP)  ## train CDiTs that are shown more or less of the past (an hour): FOLDER=~/history
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiment.history --folder $(FOLDER)
	$(BIN)/python -m benchmarks.tables.pages

encoders: FOLDER = $(HOME)/egowm-encoders
encoders: $(STAMP)  ## train and probe image encoders that are not there yet (hours): FOLDER=~/encoders
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiment.encoders --folder $(FOLDER) --seconds 300
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiment.lives --folder $(FOLDER) --seconds 300
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiment.encoders --folder $(FOLDER)/longer \
	    --seconds 800 --only SingleLife "SingleLife, two crops of one frame" \
	    --record $(FOLDER)/longer.json
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiment.lives --folder $(FOLDER)/longer \
	    --seconds 800 --fewer
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.planning.encoder_costs --folder $(FOLDER) \
	    --rooms 32 --seeds 1
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.planning.encoder_costs --folder $(FOLDER) \
	    --rooms 32 --seeds 1 --distance 4
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.planning.encoder_costs --folder $(FOLDER) \
	    --rooms 16 --seeds 1 --candidates 16 --model
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiment.moog --folder $(FOLDER) --steps 600 --clips 24
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.scs.encoder_scores --lives $(FOLDER) \
	    --moog $(FOLDER) --jobs $(JOBS)
	$(BIN)/python -m benchmarks.experiment.encoder_pictures docs/encoders.png --folder $(FOLDER) \
	    --moog $(FOLDER)/MooG-off_grid-600
	$(BIN)/python -m benchmarks.tables.pages

students: FOLDER = $(HOME)/egowm-students
students: $(STAMP)  ## measure students that docs/students.md trained: FOLDER=~/students
	env OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiment.students --folder $(FOLDER)
	$(BIN)/python -m benchmarks.tables.pages

arrivals: $(STAMP)  ## let robots plan in 50 rooms, for rows that are not there yet (hours)
	$(BIN)/python -m benchmarks.planning.arrivals
	$(BIN)/python -m benchmarks.planning.scores_and_arrivals
	$(BIN)/python -m benchmarks.planning.arrivals_chart docs/does-scs-predict-arrivals.svg
	$(BIN)/python -m benchmarks.tables.pages

fuzz: $(STAMP)  ## damage 10,000 inputs of every command and format, and call Python wrongly (an hour)
	env OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.run --jobs $(JOBS) $(ARGS)
	env OMP_NUM_THREADS=1 $(BIN)/python -m tests.wrong_calls
	env EGOWM_FUZZ_TIMES=4 $(BIN)/python -m pytest tests/commands/test_bad_recipes.py
	$(BIN)/python -m benchmarks.tables.pages

tables: $(STAMP)  ## rewrite the tables in docs from benchmarks/results
	$(BIN)/python -m benchmarks.tables.pages

clean:  ## remove what builds and tools left; .venv and runs stay
	rm -rf build dist site egowm.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find egowm tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
