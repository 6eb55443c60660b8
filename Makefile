# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Small networks run fastest on one thread; the tests and the demo use both cores by processes.
export OMP_NUM_THREADS ?= 1

.PHONY: install demo test test-slow check figures format clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[test,dev,classic]'
	touch $@

demo: install
	$(BIN)/daif demo

test: install
	$(BIN)/python -m pytest -n 2 -q

test-slow: install
	$(BIN)/python -m pytest -n 2 -q -m slow

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The figure and the table of the README, from the evaluations that are kept with the project.
figures: install
	$(BIN)/daif plot tradeoff runs/reference/evaluations runs/reference/million --output runs/reference/tradeoff.png
	$(BIN)/daif report runs/reference/evaluations runs/reference/dqn_phi --into README.md
	$(BIN)/daif report runs/reference/few_decisions --into README.md --table few
	$(BIN)/daif report runs/reference/million --into README.md --table million
	$(BIN)/daif report runs/reference/classic --into README.md --table classic
	$(BIN)/python benchmarks/ablation.py --output runs/reference/ablation_workstation.csv --into README.md --table ablation_workstation
	$(BIN)/python benchmarks/ablation.py --output runs/reference/ablation_mountaincar.csv --into README.md --table ablation
	$(BIN)/python benchmarks/ablation.py --output runs/reference/ablation_fast.csv --into README.md --table ablation_fast

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
