"""Base classes of the API views."""

from contextlib import ExitStack
from functools import cache
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from accounts.ratelimits import limits
from accounts.ratelimits.slots import hashing_slot
from tenancy.middleware import owns_transactions


@owns_transactions
class LimitedView(APIView):
    """Counts each request in the rate limit `limit`, before authentication and validation."""

    limit = "default"
    unlimited_methods: tuple[str, ...] = ()
    hashes_passwords = False  # whether a request needs a slot

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        with ExitStack() as self.stack:
            return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method not in self.unlimited_methods:
            limits.check_rate(request, self.limit)
        if self.hashes_passwords:
            self.stack.enter_context(hashing_slot())
        super().initial(request, *args, **kwargs)


class PublicView(LimitedView):
    """Needs no authentication and reads no bearer token, not even a malformed one."""

    authentication_classes: tuple[type[BaseAuthentication], ...] = ()
    permission_classes = ()


class InfrastructureView(APIView):
    """For health checks and other machines: no caller and no rate limit."""

    authentication_classes: tuple[type[BaseAuthentication], ...] = ()
    permission_classes = ()


def validated(serializer: type[Serializer], request: Request) -> dict[str, Any]:
    """The validated body. Raises DRF's ValidationError."""
    data: dict[str, Any] = _shared(serializer).run_validation(request.data)
    return data


@cache
def _shared(serializer: type[Serializer]) -> Serializer:
    """One instance for all requests, since making the fields is slow. Fields must keep no state."""
    return serializer()
