"""What the doors are made of."""

from contextlib import ExitStack
from typing import Any

from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from accounts.ratelimits import limits
from tenancy.middleware import owns_transactions

from .problems import problem_for

_json = JSONRenderer()


@owns_transactions
class LimitedView(APIView):
    """A door that counts its callers, before anything else is looked at."""

    limit = "default"
    is_counted = False

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        with ExitStack() as self.place:
            return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.count(request)
        self.place.enter_context(limits.hashing_slot(self.limit in limits.SLOW_DOORS))
        super().initial(request, *args, **kwargs)

    def count(self, request: Any) -> None:
        """Once, whichever way the request is answered."""
        if not self.is_counted:
            limits.check_rate(request, self.limit)
            self.is_counted = True


class PublicView(LimitedView):
    """A door without a lock: no bearer is read, and rubbish in its place does no harm."""

    authentication_classes = ()
    permission_classes = ()


class FastPathView(APIView):
    """A door that is asked so often that DRF's part, a sixth of the work, is worth its sparing.

    Who comes as expected gets what `fast_response` gives; None sends the rest DRF's way, to the same answers.
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
    """For machines around the service: no caller, one form of answer."""

    authentication_classes: tuple[type[BaseAuthentication], ...] = ()
    permission_classes = ()


def validated(serializer: type[Serializer], request: Request) -> dict[str, Any]:
    form = serializer(data=request.data)
    form.is_valid(raise_exception=True)
    data: dict[str, Any] = form.validated_data
    return data
