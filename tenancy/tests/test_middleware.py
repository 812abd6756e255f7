"""A request's transaction: the caller's scope around the view, and what becomes of it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.views import View
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.tests.support.accounts import Person
from tenancy.context import current_tenant
from tenancy.middleware import owns_transactions

pytestmark = pytest.mark.urls("tenancy.tests.test_middleware")
Creator = get_user_model()


def resolve(request: HttpRequest) -> UUID | None:
    """Stands in for the one that verifies a token."""
    given = request.headers.get("X-Tenant")
    return UUID(given) if given else None


def facts() -> str:
    return f"{current_tenant()} {connections['default'].in_atomic_block}"


def answer(request: HttpRequest, status: int) -> HttpResponse:
    """Writes, then answers as it was told."""
    Creator.objects.update(display_name=f"answered {status}")
    return HttpResponse(facts(), status=status)


def crash(request: HttpRequest) -> HttpResponse:
    Creator.objects.update(display_name="crashed")
    raise ZeroDivisionError


class Door(APIView):
    authentication_classes = ()
    permission_classes = ()

    def get(self, request: Request) -> Response:
        return Response(facts())


class Page(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(facts())


@owns_transactions
class OwnDoor(Door):
    pass


@owns_transactions
class OwnPage(Page):
    pass


@owns_transactions
def own_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(facts())


urlpatterns = [
    path("answer/<int:status>", answer),
    path("crash", crash),
    path("door", Door.as_view()),
    path("own/door", OwnDoor.as_view()),
    path("own/marked-door", owns_transactions(Door.as_view())),
    path("own/page", OwnPage.as_view()),
    path("own/view", own_view),
]


@pytest.fixture
def get(settings: Any) -> Callable[..., Any]:
    settings.MIDDLEWARE = ["tenancy.middleware.TenantMiddleware"]
    settings.TENANT_RESOLVER = "tenancy.tests.test_middleware.resolve"
    client = Client(raise_request_exception=False)

    def get(path: str, person: Person | None = None) -> Any:
        return client.get(path, headers={"X-Tenant": str(person.id)} if person else {})

    return get


def name_of(person: Person, superuser: psycopg.Connection) -> str:
    row = superuser.execute("SELECT display_name FROM creators WHERE id = %s", [person.id]).fetchone()
    assert row
    return str(row[0])


def test_view_runs_in_the_scope_of_its_caller(get: Any, ada: Person) -> None:
    assert get("/door", ada).content.decode() == f'"{ada.id} True"'
    assert current_tenant() is None
    assert not connections["default"].in_atomic_block


@pytest.mark.parametrize("status", [200, 204, 302, 400, 403, 404, 409, 429, 499])
def test_answers_and_refusals_are_committed(get: Any, ada: Person, superuser: Any, status: int) -> None:
    assert get(f"/answer/{status}", ada).status_code == status
    assert name_of(ada, superuser) == f"answered {status}"


@pytest.mark.parametrize("status", [500, 503])
def test_failures_are_rolled_back(get: Any, ada: Person, superuser: Any, status: int) -> None:
    assert get(f"/answer/{status}", ada).status_code == status
    assert name_of(ada, superuser) == "Ada"


def test_crash_is_rolled_back(get: Any, ada: Person, superuser: Any) -> None:
    assert get("/crash", ada).status_code == 500
    assert name_of(ada, superuser) == "Ada"
    assert not connections["default"].in_atomic_block


def test_next_request_starts_clean_after_a_failure(get: Any, ada: Person, bob: Person) -> None:
    get("/crash", ada)
    assert get("/door", bob).content.decode() == f'"{bob.id} True"'
    assert get("/door").content.decode() == '"None False"'


@pytest.mark.parametrize("path", ["/own/door", "/own/marked-door", "/own/page", "/own/view"])
def test_view_that_owns_its_transactions_gets_none(get: Any, ada: Person, path: str) -> None:
    assert get(path, ada).content.decode().strip('"') == "None False"


def test_nobody_gets_no_scope(get: Any) -> None:
    assert get("/door").content.decode() == '"None False"'
