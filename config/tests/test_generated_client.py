"""A Python client generated from the document, without a warning, makes the whole journey in its own types."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from accounts.services.api_keys import create_api_key
from config.tests.support.launched_service import launched_service
from tenancy.context import OPERATOR, using_alias

pytestmark = pytest.mark.slow

JOURNEY = Path(__file__).parent / "support" / "generated_client_flow.py"
MYPY = (sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull)
OPTIONS = "literal_enums: true\npost_hooks: []\n"


def run(*command: str | Path, **env: str) -> str:
    """What it printed; on both streams, as the generator warns on one and errs on the other."""
    done = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def generate(url: str, place: Path) -> Path:
    package, options = place / "creator_accounts", place / "options.yaml"
    options.write_text(OPTIONS)
    tool = Path(sys.executable).parent / "openapi-python-client"
    command: list[str | Path] = [
        tool,
        "generate",
        "--url",
        f"{url}/api/schema?format=json",
        "--output-path",
        package,
    ]
    told = run(*command, "--meta", "none", "--config", options, "--fail-on-warning", NO_COLOR="1")
    assert told.split() == ["Generating", str(package)]
    return package


def test_the_generated_client_makes_the_journey(transactional_db: None, tmp_path: Path) -> None:
    with using_alias(OPERATOR):
        key = str(create_api_key("the shop"))
    with launched_service(tmp_path, JWT_REFRESH_GRACE_SECONDS="0") as url:
        package = generate(url, tmp_path)
        operations = {path.stem for path in package.glob("api/*/*.py")} - {"__init__"}
        journey = JOURNEY.read_text()
        assert not {name for name in operations if f"{name}.sync(" not in journey}
        run(sys.executable, JOURNEY, url, tmp_path / "mail", key, PYTHONPATH=str(tmp_path))
    run(*MYPY, JOURNEY, MYPYPATH=str(tmp_path))
