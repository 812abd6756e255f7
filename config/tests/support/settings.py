"""The settings module, loaded again with another environment."""

import importlib.util
import os
from types import ModuleType

import environ
import pytest

from config.tests.support.environment import ROOT

LEAST = {
    "SECRET_KEY": "0123456789" * 5,
    "DATABASE_URL": "postgres://auth_app:secret@localhost:5432/auth",
    "DATA_DIR": "/nonexistent/data",
}


def load(monkeypatch: pytest.MonkeyPatch, **env: str) -> ModuleType:
    """The settings as a process of its own would read them from `env`."""
    monkeypatch.setattr(os, "environ", LEAST | env)
    place = ROOT / "config" / "settings.py"
    spec = importlib.util.spec_from_file_location("config.settings_under_test", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(environ.Env, "ENVIRON", LEAST | env)
    spec.loader.exec_module(module)
    return module
