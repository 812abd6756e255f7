"""Runs the launcher's services, server and mail worker, on the database of the tests.

`live_server` runs the server alone.
"""

import http.client
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from config.launcher import services
from config.launcher.instance import DATABASE_URLS, Instance
from config.launcher.process import wait_until

from .external_servers import free_port

SECRETS = ("SECRET_KEY", *DATABASE_URLS)


@contextmanager
def launched_service(data_dir: Path, **env: str) -> Iterator[str]:
    """Run server and mail worker; yields the base URL. `env` overrides the tests' environment."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    address = (socket.AF_INET, "127.0.0.1")
    (data_dir / "metrics").mkdir(exist_ok=True)
    instance = Instance("127.0.0.1", address, port, data_dir, url, given=os.environ)
    secrets = {name: os.environ[name] for name in SECRETS} | {"LOG_LEVEL": "ERROR", "PUBLIC_URL": url} | env
    with ExitStack() as running:
        for service in (services.mail_worker(instance, secrets), services.server(instance, secrets)):
            assert service
            running.enter_context(service)
        assert wait_until(lambda: services.get_readiness(instance) == "200", within=60)
        yield url


def status_of(url: str, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()
