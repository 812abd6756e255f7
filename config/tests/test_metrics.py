"""The metrics, who may read them, and their sums over several processes."""

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from accounts.jobs.worker import Worker
from accounts.services.api_keys import create_api_key
from config.tests.support.accounts import Person
from config.tests.support.client import API
from config.tests.support.launched_service import launched_service
from tenancy.context import OPERATOR, using_alias

SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


def read(text: str) -> dict[str, float]:
    """`name{labels}` → value"""
    found = {}
    for line in text.splitlines():
        if sample := SAMPLE.fullmatch(line):
            found[f"{sample[1]}{{{sample[2] or ''}}}"] = float(sample[3])
    return found


def metrics(api: API) -> dict[str, float]:
    response = api.get("/metrics")
    assert response.status_code == 200, response.content
    assert response["Content-Type"].startswith("text/plain")
    return read(response.content.decode())


def event_metric(kind: str) -> str:
    return f'auth_events_total{{type="{kind}"}}'


def test_every_event_is_counted(api: API, ada: Person) -> None:
    before = metrics(api)
    for password in ("a wrong one", ada.password, ada.password):
        api.post("login", {"email": ada.email, "password": password})
    after = metrics(api)
    assert after[event_metric("login.failed")] - before[event_metric("login.failed")] == 1
    assert after[event_metric("login.succeeded")] - before[event_metric("login.succeeded")] == 2
    assert (
        before[event_metric("token.reused")] == after[event_metric("token.reused")]
    )  # present, though none was recorded
    hashes = "auth_hashing_seconds_count{}"
    assert after[hashes] - before[hashes] == 3
    requests = 'auth_requests_total{method="POST",route="/api/v1/auth/login",status="200"}'
    assert after[requests] - before.get(requests, 0) == 2
    assert after['auth_request_seconds_count{route="/api/v1/auth/login"}'] >= 3


def test_labels_have_no_personal_data_and_few_values(api: API, ada: Person) -> None:
    api.call("BREW", "/no/such/path")
    api.call("BREW2", "/no/such/other-path")
    api.delete(f"sessions/{ada.id}", token=ada.access)
    api.get(f"/account/reset/{'u' * 22}/{'t' * 43}/")
    text = api.get("/metrics").content.decode()
    for secret in (str(ada.id), ada.email, "BREW", "no/such", "tttt", "127.0.0.1"):
        assert secret not in text
    assert 'auth_requests_total{method="other",route="none",status="404"}' in text


def test_mails_queue_and_worker_are_measured(api: API, run_jobs: Any, mailoutbox: Any) -> None:
    sent = 'auth_mails_total{kind="verify_email",outcome="sent"}'
    before = metrics(api)
    api.post("register", {"email": "new@example.com", "password": "a lovely sentence of Ada's"})
    with using_alias(OPERATOR):
        worker = Worker("test")
        worker._update_gauges()
    assert 0 < metrics(api)["auth_queue_oldest_seconds{}"] < 60
    run_jobs()
    with using_alias(OPERATOR):
        Worker("test")._update_gauges()
    after = metrics(api)
    assert after["auth_queue_oldest_seconds{}"] == 0
    assert after["auth_worker_seen_timestamp_seconds{}"] > 1.7e9
    assert after[sent] - before.get(sent, 0) == 1


def test_database_errors_are_counted(api: API, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OperationalError

    name = 'auth_database_errors_total{error="OperationalError"}'
    before = metrics(api)
    with monkeypatch.context() as patched:
        patched.setattr("accounts.sql.find_account", fail)
        assert api.post("login", {"email": "ada@example.com", "password": "any"}).status_code == 503
    assert metrics(api)[name] - before.get(name, 0) == 1


@pytest.mark.parametrize(
    ("peer", "header"),
    [
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.7"}),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", {"X-Real-IP": "127.0.0.1"}),
        ("127.0.0.1", {"CF-Connecting-IP": "203.0.113.7"}),
        ("127.0.0.1", {"X-Header-Of-A-Later-Proxy": "1"}),
        ("203.0.113.7", {}),
        ("203.0.113.7", {"Authorization": "Bearer ak_made-up"}),
    ],
)
def test_other_clients_need_an_api_key(api: API, peer: str, header: dict[str, str]) -> None:
    refused = api.get("/metrics", **header) if peer == "127.0.0.1" else remote(api, peer, **header)
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
    with using_alias(OPERATOR):
        key = create_api_key("prometheus")
    header = {name: value for name, value in header.items() if name != "Authorization"}
    assert remote(api, peer, Authorization=f"Bearer {key}", **header).status_code == 200


def test_without_the_setting_loopback_needs_an_api_key(api: API, settings: Any) -> None:
    """Requests through a proxy on this machine may look like local ones."""
    assert api.get("/metrics").status_code == 200
    settings.METRICS_FROM_LOOPBACK = False
    refused = api.get("/metrics")
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
    with using_alias(OPERATOR):
        key = create_api_key("prometheus")
    assert api.get("/metrics", token=str(key)).status_code == 200


def test_local_scrapers_and_browsers_need_no_api_key(api: API) -> None:
    scraper = {"Accept-Encoding": "gzip", "X-Prometheus-Scrape-Timeout-Seconds": "10"}
    browser = {"Sec-Fetch-Mode": "navigate", "Accept-Language": "de", "Upgrade-Insecure-Requests": "1"}
    for headers in (scraper, browser):
        assert api.get("/metrics", **headers).status_code == 200


def remote(api: API, peer: str, **headers: str) -> Any:
    return api.generic("GET", "/metrics", headers=headers, REMOTE_ADDR=peer)


@pytest.mark.slow
def test_metrics_of_all_processes_are_added(transactional_db: None, tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    with launched_service(tmp_path) as url:
        body = json.dumps({"password": "a lovely sentence of Ada's"}).encode()
        for _ in range(20):
            request = urllib.request.Request(
                f"{url}/api/v1/auth/password/validate", body, {"Content-Type": "application/json"}
            )
            urllib.request.urlopen(request, timeout=10).close()
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
            found = read(response.read().decode())
    requests = 'auth_requests_total{method="POST",route="/api/v1/auth/password/validate",status="200"}'
    assert found[requests] == 20
    assert found["auth_worker_seen_timestamp_seconds{}"] > 1.7e9
    assert len(list((tmp_path / "metrics").glob("counter_*.db"))) >= 2
