# `make run` needs only Python 3.11 or newer; the first call installs everything else, pinned by hash.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# lets tools load the settings without a running service
SETTINGS := $(foreach role,DATABASE_URL OPERATOR_DATABASE_URL OWNER_DATABASE_URL,$(role)=postgres://auth_app@localhost/auth) \
  SECRET_KEY=only-for-tools-that-read-the-settings-unused-unused-unused-unused

.PHONY: run test test-pooled lint bench prove lock messages

run: $(VENV)/requirements.installed $(VENV)/argon2.built
	@exec $(BIN)/python -m config.launcher

test: lint
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# The tests that PgBouncer in transaction mode or counters in Redis could break, run with both.
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
	@$(BIN)/python .ci/check-words

# Benchmarks and long proofs are files that `make test` does not collect.
bench: $(VENV)/requirements-dev.installed
	@$(BIN)/python -m pytest -p no:randomly -s */tests/bench_*.py

# `make prove SHORT=1` does fewer rounds, in minutes, and does not check speed.
prove: $(VENV)/requirements-dev.installed
	@PROVE_SHORT=$(SHORT) $(BIN)/python -m pytest -p no:randomly -s */tests/prove_*.py

# Pin the packages of requirements*.in; `make lock UPGRADE=--upgrade` takes the newest versions.
lock: $(BIN)/python
	@$(PIP) install uv
	@for name in requirements requirements-dev requirements-build; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(UPGRADE) \
	    $$name.in -o $$name.txt || exit 1; done

# Collect the texts to translate, and compile the translations (Debian: apt install gettext).
messages: $(VENV)/requirements-dev.installed
	@$(SETTINGS) $(BIN)/python manage.py makemessages --locale de --no-location --no-wrap --no-obsolete \
	  --ignore var --ignore '*/tests/*'
	@sed -i '/^"POT-Creation-Date/d;/^"Report-Msgid-Bugs-To/d' accounts/locale/de/LC_MESSAGES/django.po
	@$(SETTINGS) $(BIN)/python manage.py compilemessages --locale de --ignore .venv

# Argon2's prebuilt wheel runs on any processor; a build for this processor is ~50 % faster. A failed build is harmless.
$(VENV)/argon2.built: requirements-build.txt requirements.txt | $(VENV)/requirements.installed
	@.ci/build-argon2 $(VENV) > $@.log 2>&1 || echo "Using the prebuilt Argon2 wheel (the build failed: $@.log)"
	@touch $@

$(VENV)/%.installed: %.txt | $(BIN)/python
	@echo "Installing $<"
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "$(PYTHON) is not Python 3.11 or newer; choose another with PYTHON=python3.11" >&2; exit 1; }
	@echo "Creating $(VENV)"; rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) >/dev/null || { rm -rf $(VENV); \
	  echo "$(PYTHON) -m venv failed: install Python's venv module (Debian: apt install python3-venv)" >&2; exit 1; }
