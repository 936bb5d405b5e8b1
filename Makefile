# make sweep: set up, run the default local sweep, draw its plots.   make test: set up and test.
# make slurm-demo: the same sweep through sbatch, on a Slurm of two virtual nodes on this machine.
# make setup TENSORFLOW=2.21.0: another TensorFlow; containers/setup.sh says what else there is.
# make test-newest: the tests that another TensorFlow could fail, with the newest one.
# make check: lint, types, and the tests that neither train nor start a cluster or a browser.
.PHONY: setup sweep check test test-newest lint slurm-demo

PYTHON_OF_VENV = .venv/bin/python
SWEEP = jobs/sweeps/default.toml
# Files of tests side by side, the tests of one after each other.
TWO_AT_A_TIME = --numprocesses 2 --dist loadfile --no-loadscope-reorder

setup:
	@containers/setup.sh

sweep: setup
	@$(PYTHON_OF_VENV) -m hpcbench.sweep run $(SWEEP) --plot figures

slurm-demo: setup
	@jobs/local-cluster/demo

test: setup lint
	@containers/setup.sh --browser
	@containers/setup.sh --torch
	@containers/setup.sh --jax
	@containers/setup.sh --programs
	@$(PYTHON_OF_VENV) -m pytest $(TWO_AT_A_TIME)

check: setup lint
	@$(PYTHON_OF_VENV) -m pytest --numprocesses 2 --dist worksteal -m "not slow"

NEWEST = VENV=.venv-newest TENSORFLOW=2.21.0
test-newest:
	@$(NEWEST) containers/setup.sh
	@.venv-newest/bin/python -m pytest $(TWO_AT_A_TIME) tests/test_models.py tests/test_exercises.py \
		tests/test_equivalence.py::test_ranks_agree_bit_for_bit -k "not single and not mirrored"

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
