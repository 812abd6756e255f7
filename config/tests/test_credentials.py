"""A server without the admin has no credentials of another database role."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from config.tests.support.environment import DATABASE, ROLES, server
from config.tests.support.live_server import LiveServer, run_server

pytestmark = pytest.mark.slow
OTHERS = (ROLES.owner, ROLES.operator, ROLES.lookup, "postgres")


@pytest.fixture(scope="module")
def served(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with run_server(tmp_path_factory.mktemp("api"), workers=1, OPERATOR_DATABASE_URL="") as service:
        yield service


def environment(process: int) -> dict[str, str]:
    entries = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def possible_passwords(environ: dict[str, str]) -> set[str]:
    """Every value, and the password of every URL."""
    passwords = {unquote(urlsplit(value).password or "") for value in environ.values() if "://" in value}
    return {*environ.values(), *passwords}


def can_sign_in(role: str, password: str) -> bool:
    parameters = conninfo_to_dict(server.url(ROLES.app, DATABASE)) | {"user": role, "password": password}
    try:
        psycopg.connect(make_conninfo("", **parameters)).close()
    except psycopg.OperationalError:
        return False
    return True


def test_no_variable_is_the_password_of_another_role(served: LiveServer) -> None:
    for process in (served.child.pid, *served.workers()):
        passwords = possible_passwords(environment(process))
        assert [role for role in OTHERS for password in passwords if can_sign_in(role, password)] == []
        assert any(can_sign_in(ROLES.app, password) for password in passwords)


def test_without_operator_database_the_admin_is_404(served: LiveServer) -> None:
    for path in ("/admin/", "/admin/login/", "/admin/second-factor/", "/admin/accounts/creator/"):
        assert served.call("GET", path).status == 404, path
    assert served.call("GET", "/readyz").status == 200
