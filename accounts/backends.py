from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from accounts.services.operators import login
from audit.requests.client_info import ClientInfo, client_info

from .email_addresses import InvalidAddressError
from .models import Creator


class OperatorBackend(ModelBackend):
    """Authenticates operators for the admin. Creators sign in through the API (`services.login`)."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> Creator | None:
        if username is None or password is None:
            return None
        client = client_info(request) if request else ClientInfo()
        try:
            return login.authenticate(email=username, password=password, client=client)
        except InvalidAddressError:  # no account can have it
            return None
