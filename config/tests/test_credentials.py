"""What a process that serves no admin holds in its hands, and how far that leads."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from config.tests.support.environment import DATABASE, ROLES, server
from config.tests.support.live_server import Served, serving

pytestmark = pytest.mark.slow
OTHERS = (ROLES.owner, ROLES.operator, ROLES.lookup, "postgres")


@pytest.fixture(scope="module")
def served(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("api"), workers=1, OPERATOR_DATABASE_URL="") as service:
        yield service


def environment(process: int) -> dict[str, str]:
    entries = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def words(environ: dict[str, str]) -> set[str]:
    """All that may be tried as a password: each value, and what stands before the host in a URL."""
    passwords = {unquote(urlsplit(value).password or "") for value in environ.values() if "://" in value}
    return {*environ.values(), *passwords}


def can_sign_in(role: str, password: str) -> bool:
    place = conninfo_to_dict(server.url(ROLES.app, DATABASE)) | {"user": role, "password": password}
    try:
        psycopg.connect(make_conninfo("", **place)).close()
    except psycopg.OperationalError:
        return False
    return True


def test_with_its_whole_environment_nobody_signs_in_as_another_role(served: Served) -> None:
    for process in (served.child.pid, *served.workers()):
        tried = words(environment(process))
        assert [role for role in OTHERS for word in tried if can_sign_in(role, word)] == []
        assert any(can_sign_in(ROLES.app, word) for word in tried), "the test itself can't sign in"


def test_without_the_operators_database_there_is_no_operators_site(served: Served) -> None:
    for path in ("/admin/", "/admin/login/", "/admin/second-factor/", "/admin/accounts/creator/"):
        assert served.call("GET", path).status == 404, path
    assert served.call("GET", "/readyz").status == 200
