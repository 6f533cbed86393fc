# Set-up happens by itself and again only when pyproject.toml or constraints.txt change.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Validators of other formats need other versions of some libraries: an environment of their own, for tests.
VALIDATORS := .validators
# Tests wait for servers and stalls more than they compute, so that more of them at once than cores are quicker.
TESTS_AT_ONCE ?= 4
# The first interpreter that is new enough.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)

# Tests start the program hundreds of times: it is compiled once, whatever the environment says of that.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test soak lint types bench docs constraints wheel
.DEFAULT_GOAL := demo

demo: $(INSTALLED)  ## the whole job against an archive served here; leaves a mirror in demo/
	$(BIN)/empiar-mirror rehearse --keep demo

test: $(INSTALLED) $(VALIDATORS)/.installed  ## all tests; those that need vsftpd, Apache or nginx say so where they are missing
	$(BIN)/pytest --numprocesses $(TESTS_AT_ONCE) --dist worksteal

SOAK_MINUTES ?= 10
SOAK_SEED ?= 1
soak: $(INSTALLED)  ## the service against an archive that changes and fails, kills, full disks; then every promise is checked
	cd tests && ../$(BIN)/python -m soak.soak --minutes $(SOAK_MINUTES) --seed $(SOAK_SEED)

lint: $(INSTALLED)  ## format, style, and the import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(INSTALLED)  ## static types, strict
	$(BIN)/mypy

bench: $(INSTALLED)  ## measurements; they assert nothing and take a while
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(INSTALLED)  ## the generated parts of docs/
	$(BIN)/python docs/generate.py
	$(BIN)/python -m empiar_schema > docs/sql.new && mv docs/sql.new docs/sql.md
	$(BIN)/python tests/journey/fault_table.py > docs/faults.new && mv docs/faults.new docs/faults.md
	$(BIN)/python tests/role_measure.py

constraints: $(INSTALLED)  ## constraints.txt from what is installed now
	# Without local versions, such as torch's +cpu: which build it is does not matter.
	{ head -n 1 constraints.txt; $(BIN)/pip freeze --exclude-editable --exclude empiar-mirror | sed 's/+.*//'; } > constraints.new
	mv constraints.new constraints.txt

wheel: $(INSTALLED)
	$(BIN)/pip wheel --no-deps --wheel-dir dist .

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cluster,export,images,serve]' --group dev
	touch $@

$(VALIDATORS)/.installed: tests/validators.txt tests/warm_validators.py | $(INSTALLED)
	test -x $(VALIDATORS)/bin/python || $(PYTHON) -m venv $(VALIDATORS)
	$(VALIDATORS)/bin/pip install --quiet --disable-pip-version-check --requirement tests/validators.txt
	rm -f $(VALIDATORS)/http-cache.sqlite
	$(VALIDATORS)/bin/python tests/warm_validators.py $(VALIDATORS)/http-cache
	touch $@
