"""schemathesis checks every endpoint of a live service against the OpenAPI document."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from accounts.services.api_keys import create_api_key
from config.launcher.instance import ROOT
from config.tests.support.accounts import Person
from config.tests.support.launched_service import launched_service
from tenancy.context import OPERATOR, using_alias

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent / "support"
PROGRAM = Path(sys.executable).parent / "schemathesis"
FIRST_HALF = "/(email|password|register|login)"  # two runs in parallel, for two processors
MIN_CASES = 5000


def run_cases(url: str, directory: Path, *options: str, **env: str) -> int:
    """The number of cases; a failed case fails the test with schemathesis' output."""
    command = [PROGRAM, "--config-file", HERE / "schemathesis.toml", "run", f"{url}/api/schema"]
    done = subprocess.run(
        [*map(str, command), "--no-color", *options],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONPATH": str(ROOT), **env},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-15000:] + done.stderr[-3000:]
    generated = re.search(r"([\d,]+) generated", done.stdout)
    assert generated, done.stdout
    return int(generated[1].replace(",", ""))


def test_every_endpoint_conforms_to_the_document(ada: Person, tmp_path: Path) -> None:
    with using_alias(OPERATOR):
        key = create_api_key("schemathesis")
    env = {
        "SCHEMATHESIS_HOOKS": "config.tests.support.schemathesis_hooks",
        "TESTED_CREATOR": str(ada.id),
        "TESTED_API_KEY": str(key),
        "LOG_LEVEL": "ERROR",
    }
    with launched_service(tmp_path) as url, ThreadPoolExecutor(2) as pool:
        env["PUBLIC_URL"] = url
        runs = [
            pool.submit(run_cases, url, tmp_path, f"--{action}-path-regex={FIRST_HALF}", **env)
            for action in ("include", "exclude")
        ]
        runs.append(pool.submit(run_cases, url, tmp_path, "--phases=coverage"))  # without credentials
        counts = [run.result() for run in runs]
    assert sum(counts) >= MIN_CASES, counts
