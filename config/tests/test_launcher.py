"""`make run`, seen from outside: with small stand-ins for Django, and once with the whole house."""

import contextlib
import http.client
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from config.child import happens
from config.instance import ROOT, read_env
from config.tests.test_child import alive

# Stands in for manage.py: notes what it was called with, and works on as a mail worker does.
MANAGE = """
import json, os, pathlib, signal, sys, time
place = pathlib.Path(os.environ["DATA_DIR"])
note = place / f"{sys.argv[1]}.{os.getpid()}"
note.write_text(json.dumps(dict(os.environ)))
if (place / f"{sys.argv[1]}.fails").exists():
    sys.exit("Traceback\\n  of many lines\\nno such luck")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(note.rename(f"{note}.stopped") and 0))
while sys.argv[1] == "run_worker":
    time.sleep(0.05)
"""
APPLICATION = """
import json, os
def application(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps({"pid": os.getpid(), "master": os.getppid(), **os.environ}).encode()]
"""
STAND_IN = """
import pathlib, sys
from config import launcher
place = pathlib.Path(__file__).parent
launcher.APPLICATION, launcher.MANAGE = "stand_in_wsgi:application", (sys.executable, str(place / "manage.py"))
launcher.SETTLED_SECONDS = 1
sys.exit(launcher.main())
"""
USERS_OWN = {"DATABASE_URL", "OWNER_DATABASE_URL", "OPERATOR_DATABASE_URL", "SECRET_KEY", "PUBLIC_URL", "HOST"}


@dataclass
class Launched:
    """One run of the launcher: its files, its port, what it says."""

    place: Path
    port: int
    program: Path | None = None  # the stand-in; None for the whole house
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self, **options: int) -> "Launched":
        inherited = {name: value for name, value in os.environ.items() if name not in USERS_OWN}
        place = {"DATA_DIR": str(self.place), "PORT": str(self.port), "PYTHONPATH": f"{ROOT}"}
        if self.program:
            place["PYTHONPATH"] += f":{self.program.parent}"
        command = [sys.executable, *([self.program] if self.program else ["-m", "config.launcher"])]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=inherited | place | self.env, **{"stdout": output, "stderr": output} | options
            )
        return self

    @property
    def output(self) -> Path:
        return self.place.with_name(f"{self.place.name}.output")

    def said(self) -> str:
        return self.output.read_text()

    def ready(self) -> "Launched":
        assert happens(lambda: "Ready: " in self.said() or self.process.poll() is not None, within=120)
        assert self.process.poll() is None, self.said()
        return self

    def ends(self) -> int:
        return self.process.wait(timeout=60)

    def stop(self) -> int:
        self.process.terminate()
        return self.ends()

    def get(self, path: str = "/") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def facts(self) -> dict[str, str]:
        """What a process of the server knows."""
        return dict(__import__("json").loads(self.get()[1]))

    def notes(self, command: str) -> list[Path]:
        return [path for path in self.place.glob(f"{command}.*") if path.suffix != ".fails"]

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def leaves_nothing_running(self) -> bool:
        told = subprocess.run(["ps", "-ewwo", "args="], capture_output=True, text=True, check=True).stdout
        return str(self.place) not in told and not self.answers()
