# `make run` needs Python 3.11 or newer and nothing else; the rest is fetched, by hash, on the first call.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# enough for the settings to load where no service is run
SETTINGS := $(foreach role,DATABASE_URL OPERATOR_DATABASE_URL OWNER_DATABASE_URL,$(role)=postgres://auth_app@localhost/auth) \
  SECRET_KEY=only-for-tools-that-read-the-settings-unused-unused-unused-unused

.PHONY: run test test-pooled lint bench prove lock messages

run: $(VENV)/requirements.installed $(VENV)/argon2.built
	@exec $(BIN)/python -m config.launcher

test: lint
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# What PgBouncer in transaction mode and counters in Redis could break, there.
POOLED := accounts/tests/test_refresh.py accounts/tests/test_lockout.py accounts/tests/test_rate_limits.py \
  config/tests/test_contract.py config/tests/test_endpoints.py tenancy/tests/test_context.py \
  tenancy/tests/test_middleware.py
test-pooled: $(VENV)/requirements-dev.installed
	@$(BIN)/python -m pytest -p config.tests.support.pooled $(POOLED)

lint: $(VENV)/requirements-dev.installed
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(SETTINGS) $(BIN)/python -m mypy .
	@$(BIN)/lint-imports

# Benchmarks and long proofs are files that `make test` does not collect.
bench: $(VENV)/requirements-dev.installed
	@$(BIN)/python -m pytest -p no:randomly -s */tests/bench_*.py

# `make prove SHORT=1` is as much of each as minutes allow, and asks for no speed.
prove: $(VENV)/requirements-dev.installed
	@PROVE_SHORT=$(SHORT) $(BIN)/python -m pytest -p no:randomly -s */tests/prove_*.py

# Pin what requirements*.in ask for; `make lock UPGRADE=--upgrade` takes the newest.
lock: $(BIN)/python
	@$(PIP) install uv
	@for name in requirements requirements-dev requirements-build; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(UPGRADE) \
	    $$name.in -o $$name.txt || exit 1; done

# Gather what is to be translated, and compile what is (Debian: apt install gettext).
messages: $(VENV)/requirements-dev.installed
	@$(SETTINGS) $(BIN)/python manage.py makemessages --locale de --no-location --no-wrap --no-obsolete \
	  --ignore var --ignore '*/tests/*'
	@sed -i '/^"POT-Creation-Date/d;/^"Report-Msgid-Bugs-To/d' accounts/locale/de/LC_MESSAGES/django.po
	@$(SETTINGS) $(BIN)/python manage.py compilemessages --locale de --ignore .venv

# Argon2's wheel is made for any processor; one built for this processor is half again as fast.
$(VENV)/argon2.built: requirements-build.txt requirements.txt | $(VENV)/requirements.installed
	@.ci/build-argon2 $(VENV) > $@.log 2>&1 || echo "Argon2 stays as its wheel has it (why: $@.log)"
	@touch $@

$(VENV)/%.installed: %.txt | $(BIN)/python
	@echo "Installing $<"
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed as $(PYTHON); name another with PYTHON=python3.11" >&2; exit 1; }
	@echo "Making $(VENV)"; rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) >/dev/null || { rm -rf $(VENV); \
	  echo "$(PYTHON) -m venv failed: install Python's venv module (Debian: apt install python3-venv)" >&2; exit 1; }
