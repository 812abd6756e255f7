"""PostgreSQL, Redis or a worker fails under load and recovers: 503 meanwhile, and no lost changes."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.launcher.postgres.cluster import EmbeddedPostgres
from config.launcher.process import wait_until
from config.tests.support.consistency_load import (
    SimulatedCreator,
    assert_consistent,
    insert_creators,
    responses,
    running_load,
)
from config.tests.support.external_servers import Env, Redis, own_postgres, own_redis, pgbouncer, remote_host
from config.tests.support.live_server import NO_LIMITS, LiveServer, run_server
from config.tests.support.urls import POST_BODIES

pytestmark = [pytest.mark.slow, pytest.mark.no_database]
OUTAGE_SECONDS = 2
RECOVERY_SECONDS = 5
MAX_RESPONSE_SECONDS = 8
Cluster = tuple[EmbeddedPostgres, Env]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with own_postgres(tmp_path_factory.mktemp("faults")) as own:
        yield own


def superuser(server: EmbeddedPostgres) -> psycopg.Connection:
    return psycopg.connect(server.superuser_url("auth"), autocommit=True)


def new_creators(server: EmbeddedPostgres) -> list[SimulatedCreator]:
    with superuser(server) as connection:
        connection.execute("DELETE FROM creators")
        return [SimulatedCreator(account) for account in insert_creators(connection, 6)]


@contextmanager
def under_load(served: LiveServer, creators: list[SimulatedCreator]) -> Iterator[None]:
    with running_load(creators, served.call):
        assert wait_until(lambda: min(len(creator.names) for creator in creators) > 2, within=20)
        yield


def assert_refused_with_503(creators: list[SimulatedCreator], *, within: float) -> None:
    refused = [response for response in responses(creators) if response.status != 200]
    assert refused, "the outage had no effect"
    assert {(response.status, response.code) for response in refused} == {(503, "unavailable")}
    assert min(response.retry_after for response in refused) >= 1
    assert max(response.seconds for response in refused) < within
    assert max(response.seconds for response in responses(creators)) < MAX_RESPONSE_SECONDS


def assert_recovered(creators: list[SimulatedCreator], since: float) -> None:
    later = [response for response in responses(creators) if response.at > since + RECOVERY_SECONDS]
    assert later
    assert {(response.status, response.code) for response in later} == {(200, "")}


def assert_outage_survived(
    served: LiveServer,
    server: EmbeddedPostgres,
    creators: list[SimulatedCreator],
    recovered_at: float,
    *,
    within: float,
) -> None:
    """Quick refusals during the outage, none after the recovery, and consistent data."""
    assert_refused_with_503(creators, within=within)
    assert_recovered(creators, recovered_at)
    assert "Traceback" not in served.log.read_text()
    with superuser(server) as connection:
        assert_consistent(connection, creators)


# --- PostgreSQL -------------------------------------------------------------------------------


def restart(server: EmbeddedPostgres) -> None:
    server.stop()
    time.sleep(OUTAGE_SECONDS)
    server.start()


def kill(server: EmbeddedPostgres) -> None:
    """SIGKILL, without a checkpoint: the next start does crash recovery."""
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)
    assert wait_until(lambda: server.poll() is not None, within=10)
    time.sleep(OUTAGE_SECONDS)
    server.stop()
    server.start()


def crash(server: EmbeddedPostgres) -> None:
    """SIGKILL to one backend: PostgreSQL ends all sessions and does crash recovery."""
    with superuser(server) as connection:
        query = "SELECT min(pid) FROM pg_stat_activity WHERE usename = 'auth_app'"
        (pid,) = connection.execute(query).fetchone()  # type: ignore[misc]
    os.kill(pid, signal.SIGKILL)


@contextmanager
def direct(server: EmbeddedPostgres, env: Env) -> Iterator[Env]:
    yield env


@pytest.mark.parametrize(("connect", "fault"), [(direct, kill), (direct, crash), (pgbouncer, restart)])
def test_postgresql_fails_and_recovers(
    cluster: Cluster, tmp_path: Path, connect: Any, fault: Callable[[EmbeddedPostgres], None]
) -> None:
    server, urls = cluster
    creators = new_creators(server)
    with (
        connect(server, urls) as env,
        run_server(tmp_path, workers=2, **NO_LIMITS, **env) as served,
        under_load(served, creators),
    ):
        fault(server)
        recovered_at = time.monotonic()
        time.sleep(RECOVERY_SECONDS + 1)
    assert_outage_survived(served, server, creators, recovered_at, within=2)


def test_network_to_postgresql_is_cut(cluster: Cluster, tmp_path: Path) -> None:
    """No connection is closed or refused. A request may wait for several timeouts: its own, and that of its rollback."""
    server, env = cluster
    creators = new_creators(server)
    with (
        remote_host(server, env) as host,
        run_server(tmp_path, workers=2, **NO_LIMITS, **host.env) as served,
        under_load(served, creators),
    ):
        host.cut_network()
        time.sleep(2 * OUTAGE_SECONDS)
        host.restore_network()
        recovered_at = time.monotonic()
        time.sleep(RECOVERY_SECONDS + 1)
    assert_outage_survived(served, server, creators, recovered_at, within=MAX_RESPONSE_SECONDS)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    with tempfile.TemporaryDirectory(prefix="small-disk-") as directory:
        Path(directory).chmod(0o755)
        mount = ["mount", "-t", "tmpfs", "-o", "size=256m,mode=755", "tmpfs", directory]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a tmpfs can't be mounted here")
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return ballast


def test_full_disk_refuses_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    sizes = {"min_wal_size": "32MB", "max_wal_size": "64MB", "shared_buffers": "16MB"}
    with own_postgres(small_disk, **sizes) as (server, env):
        creators = new_creators(server)
        env["PROMETHEUS_MULTIPROC_DIR"] = str(small_disk / "metrics")  # as with `make run`
        (small_disk / "metrics").mkdir()
        with run_server(tmp_path, workers=2, **NO_LIMITS, **env) as served, under_load(served, creators):
            ballast = fill(small_disk)
            assert wait_until(
                lambda: any(response.status == 503 for response in responses(creators)), within=30
            )
            for path in POST_BODIES:  # the metrics of each endpoint need space
                assert served.post(path, {}).status in {400, 401, 503}
            time.sleep(OUTAGE_SECONDS)
            ballast.unlink()
            if server.poll() is not None:  # it has stopped
                server.stop()
                server.start()
            recovered_at = time.monotonic()
            time.sleep(RECOVERY_SECONDS + 1)
        assert_outage_survived(served, server, creators, recovered_at, within=2)


# --- Redis --------------------------------------------------------------------------------------


def stop_redis(redis: Redis) -> None:
    redis.stop(signal.SIGKILL)
    time.sleep(OUTAGE_SECONDS)
    redis.start()


def pause_redis(redis: Redis) -> None:
    redis.send(signal.SIGSTOP)
    time.sleep(OUTAGE_SECONDS)
    redis.send(signal.SIGCONT)


@pytest.mark.parametrize("fault", [stop_redis, pause_redis])
def test_redis_fails_and_recovers(cluster: Cluster, tmp_path: Path, fault: Callable[[Redis], None]) -> None:
    server, env = cluster
    creators = new_creators(server)
    with (
        own_redis() as redis,
        run_server(tmp_path, workers=2, **NO_LIMITS, **env, REDIS_URL=redis.url) as served,
        under_load(served, creators),
    ):
        fault(redis)
        recovered_at = time.monotonic()
        time.sleep(RECOVERY_SECONDS + 1)
    assert_outage_survived(served, server, creators, recovered_at, within=1)


# --- the service's own processes ------------------------------------------------------------------


def test_killed_worker_is_replaced_and_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    server, env = cluster
    creators = new_creators(server)
    with run_server(tmp_path, workers=2, **NO_LIMITS, **env) as served, under_load(served, creators):
        for _ in range(4):
            assert wait_until(lambda: len(served.workers()) == 2, within=20)
            os.kill(served.workers()[0], signal.SIGKILL)
            time.sleep(0.5)
        assert wait_until(lambda: len(served.workers()) == 2, within=20)
        recovered_at = time.monotonic()
        time.sleep(RECOVERY_SECONDS + 1)
    assert {response.status for response in responses(creators)} == {200, 0}  # closed connections, or success
    assert_recovered(creators, recovered_at)
    with superuser(server) as connection:
        assert_consistent(connection, creators)
