"""The tenant scope of a request, and whether it commits or rolls back."""

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
    """Takes the tenant from a header; the product verifies a token."""
    given = request.headers.get("X-Tenant")
    return UUID(given) if given else None


def facts() -> str:
    return f"{current_tenant()} {connections['default'].in_atomic_block}"


def respond(request: HttpRequest, status: int) -> HttpResponse:
    Creator.objects.update(display_name=f"responded {status}")
    return HttpResponse(facts(), status=status)


def crash(request: HttpRequest) -> HttpResponse:
    Creator.objects.update(display_name="crashed")
    raise ZeroDivisionError


class Endpoint(APIView):
    authentication_classes = ()
    permission_classes = ()

    def get(self, request: Request) -> Response:
        return Response(facts())


class Page(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(facts())


@owns_transactions
class OwnEndpoint(Endpoint):
    pass


@owns_transactions
class OwnPage(Page):
    pass


@owns_transactions
def own_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(facts())


urlpatterns = [
    path("respond/<int:status>", respond),
    path("crash", crash),
    path("endpoint", Endpoint.as_view()),
    path("own/endpoint", OwnEndpoint.as_view()),
    path("own/marked-endpoint", owns_transactions(Endpoint.as_view())),
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


def test_view_runs_in_the_scope_of_the_tenant(get: Any, ada: Person) -> None:
    assert get("/endpoint", ada).content.decode() == f'"{ada.id} True"'
    assert current_tenant() is None
    assert not connections["default"].in_atomic_block


@pytest.mark.parametrize("status", [200, 204, 302, 400, 403, 404, 409, 429, 499])
def test_response_below_500_is_committed(get: Any, ada: Person, superuser: Any, status: int) -> None:
    assert get(f"/respond/{status}", ada).status_code == status
    assert name_of(ada, superuser) == f"responded {status}"


@pytest.mark.parametrize("status", [500, 503])
def test_response_from_500_is_rolled_back(get: Any, ada: Person, superuser: Any, status: int) -> None:
    assert get(f"/respond/{status}", ada).status_code == status
    assert name_of(ada, superuser) == "Ada"


def test_exception_is_rolled_back(get: Any, ada: Person, superuser: Any) -> None:
    assert get("/crash", ada).status_code == 500
    assert name_of(ada, superuser) == "Ada"
    assert not connections["default"].in_atomic_block


def test_next_request_has_no_state_of_a_failed_one(get: Any, ada: Person, bob: Person) -> None:
    get("/crash", ada)
    assert get("/endpoint", bob).content.decode() == f'"{bob.id} True"'
    assert get("/endpoint").content.decode() == '"None False"'


@pytest.mark.parametrize("path", ["/own/endpoint", "/own/marked-endpoint", "/own/page", "/own/view"])
def test_view_that_owns_its_transactions_gets_no_scope(get: Any, ada: Person, path: str) -> None:
    assert get(path, ada).content.decode().strip('"') == "None False"


def test_request_without_a_tenant_gets_no_scope(get: Any) -> None:
    assert get("/endpoint").content.decode() == '"None False"'
