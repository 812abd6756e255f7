"""Olga and her colleagues: made, signed in, and confirmed where something is dangerous."""

from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import Creator
from accounts.roles import ensure_roles
from config.tests.fixtures import Person, make_creator
from tenancy.context import OPERATOR, using_alias


def make_operator(email: str, role: str = "superuser") -> Person:
    """Staff in the group `role` ("support", "security"), a superuser, or with no rights ("")."""
    person = make_creator(email, is_staff=True, is_superuser=role == "superuser")
    with using_alias(OPERATOR):
        ensure_roles(apps.get_app_config("auth"), using=OPERATOR, apps=apps)  # tests wipe the groups
        Creator.objects.get(pk=person.id).groups.set(Group.objects.filter(name=role))
    return person


def enter(person: Person) -> Client:
    """A browser in which the operator has signed in."""
    client = Client()
    answer = client.post("/admin/login/", {"username": person.email, "password": person.password})
    assert answer.status_code == 302
    return client


def confirm(client: Client, person: Person) -> Any:
    """Step-up: from now on, dangerous things are done for a while."""
    answer = client.post("/admin/confirm/", {"password": person.password})
    assert answer.status_code == 302
    return answer
