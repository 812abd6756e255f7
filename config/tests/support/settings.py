"""Loads the settings module again with another environment."""

import importlib.util
import os
from types import ModuleType

import environ
import pytest

from config.tests.support.environment import ROOT

REQUIRED = {
    "SECRET_KEY": "0123456789" * 5,
    "DATABASE_URL": "postgres://auth_app:secret@localhost:5432/auth",
    "DATA_DIR": "/nonexistent/data",
}


def load_settings(monkeypatch: pytest.MonkeyPatch, **env: str) -> ModuleType:
    """The settings of a process with the environment `env`."""
    monkeypatch.setattr(os, "environ", REQUIRED | env)
    path = ROOT / "config" / "settings.py"
    spec = importlib.util.spec_from_file_location("config.settings_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(environ.Env, "ENVIRON", REQUIRED | env)
    spec.loader.exec_module(module)
    return module
