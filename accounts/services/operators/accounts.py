"""Operators and their roles, which only superusers and commands can change."""

from uuid import UUID

from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError

from accounts.email_addresses import canonical_email
from accounts.models import Creator, Operator, SecurityNotice
from accounts.services import notices, password_hashing
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope

SUPERUSER = "superuser"


def role_of(operator: Creator) -> str:
    """The name of the operator's group, SUPERUSER, or "" if there is no role."""
    if operator.is_superuser:
        return SUPERUSER
    return " ".join(sorted(group.name for group in operator.groups.all()))


def create_operator(*, email: str, password: str, role: str) -> bool:
    """Create an operator in the group `role`; False if an account has this address.

    Raises:
        WeakPasswordError: the password does not pass the validators.

    """
    email = canonical_email(email)
    password_hashing.validate(password, email=email)
    operator = Operator(
        email=email, holds_email=True, is_staff=True, password=password_hashing.hash_password(password)
    )
    try:
        with tenant_scope(operator.pk):
            operator.save(force_insert=True)
            operator.groups.set([Group.objects.get(name=role)])
            record(Event.OPERATOR_CREATED, client=ClientInfo(), creator_id=operator.pk, role=role)
    except IntegrityError:
        return False
    return True


def change_rights(operator_id: UUID, *, role: str, is_active: bool, by: UUID, client: ClientInfo) -> None:
    """Replace an operator's role, activate or deactivate them. The two rows are locked first.

    Raises:
        PermissionDenied: `by` is no longer an active superuser, or is the operator. So at least one superuser
            always remains.

    """
    with tenant_scope(operator_id):
        locked = Operator.objects.select_for_update().filter(pk__in=[by, operator_id]).order_by("pk")
        operators = {operator.pk: operator for operator in locked}
        actor, operator = operators.get(by), operators.get(operator_id)
        if operator is None or actor is None or actor == operator:
            raise PermissionDenied
        if not (actor.is_superuser and actor.is_active and operator.is_staff):
            raise PermissionDenied
        before = {"role": role_of(operator), "is_active": operator.is_active}
        after = {"role": role, "is_active": is_active}
        if before == after:
            return
        operator.groups.set(Group.objects.filter(name=role))
        Operator.objects.filter(pk=operator_id).update(is_superuser=role == SUPERUSER, is_active=is_active)
        record(
            Event.OPERATOR_RIGHTS_CHANGED,
            client=client, creator_id=operator_id, by=str(by), before=before, after=after,
        )  # fmt: skip
        notices.add(SecurityNotice.Kind.RIGHTS_CHANGED, creator_id=operator_id, client=client)
