"""Every door against its own description: schemathesis with all its checks, on the running service."""

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
HALF = "/(email|password|register|login)"  # of the work, for two processors
LEAST_CASES = 5000


def cases(url: str, place: Path, *options: str, **env: str) -> int:
    """How many cases were tried; what they found fails the test in schemathesis' own words."""
    command = [PROGRAM, "--config-file", HERE / "schemathesis.toml", "run", f"{url}/api/schema"]
    done = subprocess.run(
        [*map(str, command), "--no-color", *options],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONPATH": str(ROOT), **env},
        cwd=place,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-15000:] + done.stderr[-3000:]
    counted = re.search(r"([\d,]+) generated", done.stdout)
    assert counted, done.stdout
    return int(counted[1].replace(",", ""))


def test_no_door_answers_what_it_does_not_tell(ada: Person, tmp_path: Path) -> None:
    with using_alias(OPERATOR):
        key = create_api_key("schemathesis")
    who = {
        "SCHEMATHESIS_HOOKS": "config.tests.support.schemathesis_hooks",
        "TESTED_CREATOR": str(ada.id),
        "TESTED_API_KEY": str(key),
        "LOG_LEVEL": "ERROR",
    }
    with launched_service(tmp_path) as url, ThreadPoolExecutor(2) as pool:
        who["PUBLIC_URL"] = url
        runs = [
            pool.submit(cases, url, tmp_path, f"--{which}-path-regex={HALF}", **who)
            for which in ("include", "exclude")
        ]
        runs.append(pool.submit(cases, url, tmp_path, "--phases=coverage"))  # as nobody
        tried = [run.result() for run in runs]
    assert sum(tried) >= LEAST_CASES, tried
