from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from accounts.addresses import InvalidAddressError
from accounts.models import Creator
from accounts.services import operators
from audit.clients import Client, client_of


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
        client = client_of(request) if request else Client()
        try:
            return operators.recognise(email=username, password=password, client=client)
        except InvalidAddressError:  # nobody has it
            return None
