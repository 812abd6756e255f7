"""Operators for tests: create, sign in with both factors, reauthenticate."""

import time
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone
from django_otp.oath import hotp

from accounts.models import Authenticator, Creator
from accounts.permissions import ensure_roles
from accounts.services.operators import mfa
from audit.encryption import fernet_for
from tenancy.context import OPERATOR, using_alias

from .accounts import Person, make_creator


def make_operator(email: str, role: str = "superuser", *, with_app: bool = True) -> Person:
    """Create staff in the group `role` ("support", "security"), a "superuser", or staff without rights ("")."""
    person = make_creator(email, is_staff=True, is_superuser=role == "superuser")
    with using_alias(OPERATOR):
        ensure_roles(apps.get_app_config("auth"), using=OPERATOR, apps=apps)  # tests truncate the groups
        Creator.objects.get(pk=person.id).groups.set(Group.objects.filter(name=role))
        if with_app:
            Authenticator.objects.create(
                user_id=person.id, secret=mfa.new_secret(), last_step=0, created_at=timezone.now()
            )
    return person


def code_of(person: Person, *, steps: int = 0) -> str:
    """The TOTP code of now, or of some 30-second steps ago."""
    with using_alias(OPERATOR):
        return code_for(bytes(Authenticator.objects.get(user_id=person.id).secret), steps=steps)


def code_for(secret: bytes, *, steps: int = 0) -> str:
    key = fernet_for(mfa.PURPOSE).decrypt(secret)
    return f"{hotp(key, int(time.time()) // mfa.STEP_SECONDS - steps):06}"


def give_password(person: Person, client: Client | None = None) -> Client:
    """A client that has given the password but no code."""
    client = client or Client()
    response = client.post("/admin/login/", {"username": person.email, "password": person.password})
    assert response.status_code == 302
    return client


def sign_in_operator(person: Person) -> Client:
    """A client that has signed in with both factors."""
    client = give_password(person)
    with using_alias(OPERATOR):
        # so that the current code works again
        Authenticator.objects.filter(user_id=person.id).update(last_step=0)
    response = client.post("/admin/second-factor/", {"credential": code_of(person)})
    assert response.status_code == 302, response.content.decode()
    return client


def reauthenticate(client: Client, person: Person) -> Any:
    """Reauthenticate, which allows dangerous actions for some minutes."""
    response = client.post("/admin/confirm/", {"credential": person.password})
    assert response.status_code == 302, response.content.decode()
    return response
