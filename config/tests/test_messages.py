"""The German translation is complete, and its compiled file is up to date."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.core.management import call_command

from config.launcher.instance import ROOT

pytestmark = pytest.mark.no_database

GERMAN = Path("accounts/locale/de/LC_MESSAGES/django.po")
needs_gettext = pytest.mark.skipif(
    shutil.which("msgattrib") is None, reason="GNU gettext is not installed (Debian: apt install gettext)"
)


def gettext(program: str, *options: str) -> str:
    return subprocess.run([program, *options], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources, with the messages collected again."""
    for app in ("accounts", "audit", "config", "tenancy", "templates"):
        shutil.copytree(ROOT / app, tmp_path / app, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("django.conf.settings.LOCALE_PATHS", [str(tmp_path / "accounts/locale")])
    call_command("makemessages", locale=["de"], no_location=True, no_wrap=True, no_obsolete=True, verbosity=0)
    return tmp_path


@needs_gettext
def test_no_german_message_is_missing_or_fuzzy(copy: Path) -> None:
    for kind in ("--untranslated", "--only-fuzzy"):
        found = gettext("msgattrib", "--no-wrap", "--no-obsolete", kind, str(copy / GERMAN))
        assert re.findall(r'^msgid "(.+)"$', found, re.MULTILINE) == [], kind


@needs_gettext
def test_message_files_are_up_to_date(copy: Path) -> None:
    def messages(path: Path) -> str:
        return gettext("msgattrib", "--no-wrap", "--no-obsolete", "--sort-output", "--no-location", str(path))

    header = re.compile(r'^"[A-Z][\w-]+: .*$', re.MULTILINE)
    collected, current = (header.sub("", messages(path / GERMAN)) for path in (copy, ROOT))
    assert collected.split() == current.split(), "run `make messages`"
    compiled = gettext("msgunfmt", "--no-wrap", str((ROOT / GERMAN).with_suffix(".mo")))
    pairs = re.compile(r'^msgid "(.+)"\nmsgstr "(.+)"$', re.MULTILINE)
    assert set(pairs.findall(compiled)) == set(pairs.findall(messages(ROOT / GERMAN))), "run `make messages`"
