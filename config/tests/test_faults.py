"""What the service leans on goes away in the middle of many requests, and comes back."""

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
from config.tests.support.consistency_load import Life, answers, assert_books_balance, load, settle
from config.tests.support.external_servers import Env, Redis, far_away, own_postgres, own_redis, pgbouncer
from config.tests.support.live_server import NO_LIMITS, Served, serving
from config.tests.support.urls import POST_BODIES

pytestmark = [pytest.mark.slow, pytest.mark.no_database]
AWAY_SECONDS = 2
BACK_SECONDS = 5
HANG_SECONDS = 8
Cluster = tuple[EmbeddedPostgres, Env]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with own_postgres(tmp_path_factory.mktemp("faults")) as own:
        yield own


def superuser(server: EmbeddedPostgres) -> psycopg.Connection:
    return psycopg.connect(server.superuser_url("auth"), autocommit=True)


def new_cast(server: EmbeddedPostgres) -> list[Life]:
    with superuser(server) as connection:
        connection.execute("DELETE FROM creators")
        return [Life(account) for account in settle(connection, 6)]


@contextmanager
def busy(served: Served, lives: list[Life]) -> Iterator[None]:
    with load(lives, served.call):
        assert wait_until(lambda: min(len(life.renamed) for life in lives) > 2, within=20)
        yield


def assert_refused_well(lives: list[Life], *, within: float) -> None:
    refused = [answer for answer in answers(lives) if answer.status != 200]
    assert refused, "nobody noticed"
    assert {(answer.status, answer.code) for answer in refused} == {(503, "unavailable")}
    assert min(answer.retry_after for answer in refused) >= 1
    assert max(answer.seconds for answer in refused) < within
    assert max(answer.seconds for answer in answers(lives)) < HANG_SECONDS


def assert_back(lives: list[Life], since: float) -> None:
    late = [answer for answer in answers(lives) if answer.at > since + BACK_SECONDS]
    assert late
    assert {(answer.status, answer.code) for answer in late} == {(200, "")}


def assert_survived(
    served: Served, server: EmbeddedPostgres, lives: list[Life], back: float, *, within: float
) -> None:
    """Quick refusals while it was away, none after it came back, nothing lost, nothing done twice."""
    assert_refused_well(lives, within=within)
    assert_back(lives, back)
    assert "Traceback" not in served.log.read_text()
    with superuser(server) as connection:
        assert_books_balance(connection, lives)


# --- PostgreSQL -------------------------------------------------------------------------------


def restart(server: EmbeddedPostgres) -> None:
    server.stop()
    time.sleep(AWAY_SECONDS)
    server.start()


def kill(server: EmbeddedPostgres) -> None:
    """Without a word, and no checkpoint: it recovers from its log."""
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)
    assert wait_until(lambda: server.poll() is not None, within=10)
    time.sleep(AWAY_SECONDS)
    server.stop()
    server.start()


def crash(server: EmbeddedPostgres) -> None:
    """One of its processes dies, and so it throws everybody out and recovers."""
    with superuser(server) as connection:
        found = connection.execute("SELECT min(pid) FROM pg_stat_activity WHERE usename = 'auth_app'")
        (victim,) = found.fetchone()  # type: ignore[misc]
    os.kill(victim, signal.SIGKILL)


@contextmanager
def straight(server: EmbeddedPostgres, env: Env) -> Iterator[Env]:
    yield env


@pytest.mark.parametrize(("way", "fault"), [(straight, kill), (straight, crash), (pgbouncer, restart)])
def test_postgresql_goes_and_comes_back(
    cluster: Cluster, tmp_path: Path, way: Any, fault: Callable[[EmbeddedPostgres], None]
) -> None:
    server, direct = cluster
    lives = new_cast(server)
    with (
        way(server, direct) as env,
        serving(tmp_path, workers=2, **NO_LIMITS, **env) as served,
        busy(served, lives),
    ):
        fault(server)
        back = time.monotonic()
        time.sleep(BACK_SECONDS + 1)
    assert_survived(served, server, lives, back, within=2)


def test_postgresql_vanishes_without_a_word(cluster: Cluster, tmp_path: Path) -> None:
    """Its machine lost power: no connection is closed, and none is refused.

    A request under way finds out step by step: its own, and those that would have tidied up.
    """
    server, env = cluster
    lives = new_cast(server)
    with (
        far_away(server, env) as host,
        serving(tmp_path, workers=2, **NO_LIMITS, **host.env) as served,
        busy(served, lives),
    ):
        host.fall_silent()
        time.sleep(2 * AWAY_SECONDS)
        host.speak_again()
        back = time.monotonic()
        time.sleep(BACK_SECONDS + 1)
    assert_survived(served, server, lives, back, within=HANG_SECONDS)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    with tempfile.TemporaryDirectory(prefix="small-disk-") as directory:
        Path(directory).chmod(0o755)
        mount = ["mount", "-t", "tmpfs", "-o", "size=256m,mode=755", "tmpfs", directory]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no small disk can be mounted here")
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
        lives = new_cast(server)
        env["PROMETHEUS_MULTIPROC_DIR"] = str(small_disk / "metrics")  # as `make run` has it
        (small_disk / "metrics").mkdir()
        with serving(tmp_path, workers=2, **NO_LIMITS, **env) as served, busy(served, lives):
            ballast = fill(small_disk)
            assert wait_until(lambda: any(answer.status == 503 for answer in answers(lives)), within=30)
            for door in POST_BODIES:  # each has numbers of its own, and they want room
                assert served.post(door, {}).status in {400, 401, 503}
            time.sleep(AWAY_SECONDS)
            ballast.unlink()
            if server.poll() is not None:  # it gave up, and its keeper starts it again
                server.stop()
                server.start()
            back = time.monotonic()
            time.sleep(BACK_SECONDS + 1)
        assert_survived(served, server, lives, back, within=2)


# --- Redis --------------------------------------------------------------------------------------


def end(redis: Redis) -> None:
    redis.stop(signal.SIGKILL)
    time.sleep(AWAY_SECONDS)
    redis.start()


def hang(redis: Redis) -> None:
    redis.send(signal.SIGSTOP)
    time.sleep(AWAY_SECONDS)
    redis.send(signal.SIGCONT)


@pytest.mark.parametrize("fault", [end, hang])
def test_redis_goes_and_comes_back(cluster: Cluster, tmp_path: Path, fault: Callable[[Redis], None]) -> None:
    server, env = cluster
    lives = new_cast(server)
    with (
        own_redis() as redis,
        serving(tmp_path, workers=2, **NO_LIMITS, **env, REDIS_URL=redis.url) as served,
        busy(served, lives),
    ):
        fault(redis)
        back = time.monotonic()
        time.sleep(BACK_SECONDS + 1)
    assert_survived(served, server, lives, back, within=1)


# --- the service's own processes ------------------------------------------------------------------


def test_killed_worker_is_replaced_and_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    server, env = cluster
    lives = new_cast(server)
    with serving(tmp_path, workers=2, **NO_LIMITS, **env) as served, busy(served, lives):
        for _ in range(4):
            assert wait_until(lambda: len(served.workers()) == 2, within=20)
            os.kill(served.workers()[0], signal.SIGKILL)
            time.sleep(0.5)
        assert wait_until(lambda: len(served.workers()) == 2, within=20)
        back = time.monotonic()
        time.sleep(BACK_SECONDS + 1)
    assert {answer.status for answer in answers(lives)} == {200, 0}  # cut off, or answered
    assert_back(lives, back)
    with superuser(server) as connection:
        assert_books_balance(connection, lives)
