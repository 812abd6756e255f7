"""A Python client is generated from the OpenAPI document without a warning, and its types fit the service."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from accounts.api.endpoints import endpoints
from accounts.services.api_keys import create_api_key
from config.tests.support.launched_service import launched_service
from config.tests.support.urls import is_documented
from tenancy.context import OPERATOR, using_alias

pytestmark = pytest.mark.slow

FLOW = Path(__file__).parent / "support" / "generated_client_flow.py"
MYPY = (sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull)
OPTIONS = "literal_enums: true\npost_hooks: []\n"


def run(*command: str | Path, **env: str) -> str:
    """Its output on both streams."""
    done = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def generate(url: str, directory: Path) -> Path:
    package, options = directory / "creator_accounts", directory / "options.yaml"
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
    output = run(*command, "--meta", "none", "--config", options, "--fail-on-warning", NO_COLOR="1")
    assert output.split() == ["Generating", str(package)]
    return package


def test_generated_client_works_with_the_service(transactional_db: None, tmp_path: Path) -> None:
    with using_alias(OPERATOR):
        key = str(create_api_key("the shop"))
    with launched_service(tmp_path, JWT_REFRESH_GRACE_SECONDS="0") as url:
        package = generate(url, tmp_path)
        operations = {path.stem for path in package.glob("api/*/*.py")} - {"__init__"}
        flow = FLOW.read_text()
        assert not {name for name in operations if f"{name}.sync(" not in flow}
        assert len(operations) == sum(1 for endpoint in endpoints() if is_documented(endpoint))
        run(sys.executable, FLOW, url, tmp_path / "mail", key, PYTHONPATH=str(tmp_path))
    run(*MYPY, FLOW, MYPYPATH=str(tmp_path))
