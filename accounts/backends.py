from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from accounts.services.operators import login
from audit.requests.client_info import ClientInfo, client_info

from .email_addresses import InvalidAddressError
from .models import Creator


class OperatorBackend(ModelBackend):
    """The admin's sign-in: staff only. Creators sign in at the API, with `services.login`."""

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
            return login.recognise(email=username, password=password, client=client)
        except InvalidAddressError:  # nobody has it
            return None
