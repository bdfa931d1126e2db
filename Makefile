# Every target sets itself up: it makes .venv, installs what it needs, and is quick when nothing changed.
PYTHON ?= python3
BIN := .venv/bin
RUNS ?= ./runs
PORT ?= 8501
MINUTES ?= 120

.PHONY: demo test check bench bench-headline soak integrations gpu docs clean

demo: .venv/.installed
	$(BIN)/hankelboard demo --runs-dir $(RUNS) --port $(PORT)

test: check .venv/.chromium
	$(BIN)/python -m pytest tests --numprocesses 4 --dist loadfile --no-loadscope-reorder

check: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.bench
	$(BIN)/python -m benchmarks

# Compressed against every baseline on embedded data: about 40 minutes on 2 cores. See docs/RESULTS.md.
bench-headline: .venv/.installed
	$(BIN)/python -m benchmarks.headline --runs-dir $(RUNS)

# Kills of every kind (an hour), then two hours of 20 tabs and two workers: memory and descriptors over time.
soak: .venv/.installed .venv/.chromium
	$(BIN)/python -m pytest tests/soak.py
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --csv docs/results/speed/soak.csv

# fla-core's real kernels in Triton's interpreter, on a CPU; then behind a real nginx, in a real Chromium. Not part of
# `make test`: they take minutes, and nginx is not to be had everywhere.
integrations: .venv/.installed .venv/.chromium .venv/.fla
	FLA_FOLDER=.venv/fla OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/integrations/fla_interpreted.py
	@sh tests/integrations/install_nginx.sh
	$(BIN)/python -m pytest tests/integrations/behind_nginx.py

# What only a GPU can show, in at most 8 minutes, as a table in results/gpu or $OUT. Installs nothing: it takes the first
# Python here whose torch sees a GPU, and says what else is missing.
gpu:
	@for python in $(BIN)/python $(PYTHON) python; do \
	  $$python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null && \
	    PYTHONPATH=. exec $$python -m benchmarks.gpu; \
	done; echo "No Python here has a torch that sees a GPU; without one: python -m benchmarks.gpu --dry-run"; exit 1

# The site of docs/ in site/, strict: a link that leads nowhere fails. Read it with any browser: site/index.html
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; choose one with: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { echo "python3 -m venv failed; on Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# What benchmarks compare with; nothing else needs it.
.venv/.bench: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

# In a folder of its own, without what it depends on: torch is there, and an environment with triton would use it.
.venv/.fla: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .venv/fla \
	  fla-core==0.6.0 triton==3.9.0 einops==0.8.2
	@touch $@

.venv/.docs: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

# The browser test drives a real Chromium. It is installed here where that is possible (root and apt-get);
# otherwise the command to run is printed and the target fails: a browser test is never skipped in silence.
.venv/.chromium: .venv/.installed
	@sh tests/end_to_end/install_chromium.sh
	@touch $@

clean:
	rm -rf .venv build site *.egg-info
