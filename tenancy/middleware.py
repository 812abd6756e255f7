from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.utils.module_loading import import_string

from .context import current_alias, tenant_scope

View = TypeVar("View", bound=Callable[..., Any])
SERVER_ERROR = 500


def owns_transactions(view: View) -> View:
    """Mark a view (function or class) whose service opens its own scopes.

    Use it if the service hashes a password, sends mail or calls another server: none of these may run
    inside a transaction.
    """
    view.owns_transactions = True  # type: ignore[attr-defined]
    return view


class TenantMiddleware:
    """Runs the view inside the scope of the request's tenant.

    The scope commits if the status is below 500, so the records of a refused request (4xx) are kept.
    Otherwise it rolls back. `settings.TENANT_RESOLVER` names a function `(request) -> UUID | None` that
    returns the tenant; it must use only verified data, such as a signed token.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.resolve: Callable[[HttpRequest], UUID | None] = import_string(settings.TENANT_RESOLVER)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with ExitStack() as stack:
            request.tenant_stack = stack  # type: ignore[attr-defined]
            response = self.get_response(request)
            if (
                response.status_code >= SERVER_ERROR
                and transaction.get_connection(current_alias()).in_atomic_block
            ):
                transaction.set_rollback(True, using=current_alias())
        return response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        classes = (getattr(view, "cls", None), getattr(view, "view_class", None))  # of DRF and of Django
        if any(getattr(candidate, "owns_transactions", False) for candidate in (view, *classes)):
            return
        tenant = self.resolve(request)
        if tenant is not None:
            request.tenant_stack.enter_context(tenant_scope(tenant))  # type: ignore[attr-defined]
