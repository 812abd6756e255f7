"""Base classes of the API's views. The facts about an endpoint are attributes of its view.

`limit`: the scope of its rate limit; `hashes_passwords`: it needs a concurrency slot. Smoke test, OpenAPI
document and the tests of the whole project read them from here (`accounts.api.urls.endpoints`).
"""

from contextlib import ExitStack
from typing import Any

from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from accounts.ratelimits.limits import check_rate
from accounts.ratelimits.slots import hashing_slot
from tenancy.middleware import owns_transactions

from .problems import problem_for

_json = JSONRenderer()


@owns_transactions
class LimitedView(APIView):
    """An endpoint with a rate limit, which is checked before anything else."""

    limit = "default"
    hashes_passwords = False
    is_counted = False

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        with ExitStack() as self.until_answered:
            return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.check_rate_once(request)
        self.until_answered.enter_context(hashing_slot(self.hashes_passwords))
        super().initial(request, *args, **kwargs)

    def check_rate_once(self, request: Any) -> None:
        """Count the request, unless a fast path has counted it before."""
        if not self.is_counted:
            check_rate(request, self.limit)
            self.is_counted = True


class PublicView(LimitedView):
    """An endpoint that reads no bearer token; an invalid one does no harm."""

    authentication_classes = ()
    permission_classes = ()


class FastPathView(APIView):
    """An endpoint called so often that DRF's share of the work counts: a sixth of who-am-I or refresh.

    `fast_response` answers the usual request. If it returns None, DRF handles the request as any other.
    """

    def fast_response(self, request: HttpRequest) -> dict[str, Any] | None:
        raise NotImplementedError

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            body = self.fast_response(request)
        except Exception as error:
            refused = problem_for(request, error)
            if refused is None:
                raise
            return refused
        if body is None:
            return super().dispatch(request, *args, **kwargs)
        return HttpResponse(_json.render(body), content_type=_json.media_type)


class InfrastructureView(APIView):
    """An endpoint for machines around the service, without authentication."""

    authentication_classes: tuple[type[BaseAuthentication], ...] = ()
    permission_classes = ()


def validated(serializer: type[Serializer], request: Request) -> dict[str, Any]:
    """The request's data in the form of `serializer`; raises DRF's ValidationError."""
    form = serializer(data=request.data)
    form.is_valid(raise_exception=True)
    data: dict[str, Any] = form.validated_data
    return data
