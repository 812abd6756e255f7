"""Each system check has an id, a finding and a hint."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command

from tenancy.checks import schema, system
from tenancy.checks.system import check_atomic_requests, check_tenant_isolation
from tenancy.commands import OperatorCommand
from tenancy.context import OPERATOR, current_alias


def ids(messages: list[Any]) -> list[str]:
    return [str(message.id) for message in messages]


def messages(monkeypatch: pytest.MonkeyPatch, source: str, *findings: str) -> list[Any]:
    """The messages of the check if `source` has these findings."""
    monkeypatch.setattr(system, source, lambda alias: iter(findings))
    return check_tenant_isolation(None, databases=["default"])


def test_healthy_database_gives_no_message() -> None:
    assert [m for m in run_checks(databases=["default"]) if str(m.id).startswith("tenancy")] == []


def test_database_is_checked_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "table_findings", lambda alias: pytest.fail("queried"))
    assert (
        check_tenant_isolation(None, databases=None)
        == check_tenant_isolation(None, databases=["owner"])
        == []
    )


def test_old_server_is_e001(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MINIMUM_VERSION", 99)
    (message,) = check_tenant_isolation(None, databases=["default"])
    assert message.id == "tenancy.E001"
    assert "is too old: 99 or later" in message.msg


def test_role_that_bypasses_rls_is_e002(monkeypatch: pytest.MonkeyPatch) -> None:
    (message,) = messages(monkeypatch, "role_findings", "role x has BYPASSRLS")
    assert (message.id, message.msg) == ("tenancy.E002", "role x has BYPASSRLS")
    assert "role_sql" in str(message.hint)


def test_role_that_owns_tables_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ids(messages(monkeypatch, "role_findings", "role x owns tables")) == ["tenancy.W001"]


@pytest.mark.parametrize("source", ["table_findings", "catalog_findings"])
def test_difference_from_the_declarations_is_e003(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    (message,) = messages(monkeypatch, source, "table x: policy y is missing")
    assert message.id == "tenancy.E003"
    assert "check_isolation" in str(message.hint)


def test_role_findings_are_about_the_role_of_the_alias() -> None:
    assert [*schema.role_findings("owner")] == [
        "role auth_owner is a member of another role", "role auth_owner owns tables",
    ]  # fmt: skip
    assert [*schema.role_findings(OPERATOR)] == []


def test_atomic_requests_is_e004(settings: Any) -> None:
    assert check_atomic_requests(None) == []
    settings.DATABASES["default"]["ATOMIC_REQUESTS"] = True
    try:
        assert ids(check_atomic_requests(None)) == ["tenancy.E004"]
    finally:
        settings.DATABASES["default"]["ATOMIC_REQUESTS"] = False


# --- OperatorCommand --------------------------------------------------------------------------


class Command(OperatorCommand):
    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--database", default="default")

    def handle(self, *args: Any, **options: Any) -> str:
        return f"{current_alias()} {options['database']}"


@pytest.fixture
def without_operator(settings: Any) -> Iterator[None]:
    operator = settings.DATABASES.pop(OPERATOR)
    yield
    settings.DATABASES[OPERATOR] = operator


def test_operator_command_uses_the_operator_role() -> None:
    assert call_command(Command()) == "operator operator"
    assert current_alias() == "default"


def test_operator_command_fails_without_an_operator_role(without_operator: None) -> None:
    with pytest.raises(CommandError, match="set OPERATOR_DATABASE_URL"):
        call_command(Command())
