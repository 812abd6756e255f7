"""What each kind of operator may do. A superuser may do all of it, and alone delete and choose operators."""

from typing import Any

from django.apps import AppConfig

_SUPPORT = {
    "accounts.view_creator",  # look
    "accounts.lift_lock",
    "accounts.end_sessions",
    "accounts.send_reset",
    "accounts.view_refusedmail",
}
_SECURITY = _SUPPORT | {
    "accounts.deactivate_creator",  # and reactivate
    "accounts.mark_verified",
    "accounts.view_apikey",
    "accounts.revoke_apikey",
    "audit.view_auditlog",
    "audit.export_auditlog",
}
ROLES = {"support": _SUPPORT, "security": _SECURITY}  # name of the group → its permissions


def ensure_roles(app_config: AppConfig, *, using: str, apps: Any, **kwargs: Any) -> None:
    """The groups as above, whatever they were; after each migrate, once all permissions are there.

    Not a migration: a database that was flushed would have lost them for good.
    """
    try:
        group_model = apps.get_model("auth", "Group")
        permission_model = apps.get_model("auth", "Permission")
    except LookupError:  # taken back to zero
        return
    for name, labels in ROLES.items():
        group, _ = group_model.objects.using(using).get_or_create(name=name)
        codenames = {tuple(label.split(".")) for label in labels}
        found = permission_model.objects.using(using).select_related("content_type")
        permissions = [one for one in found if (one.content_type.app_label, one.codename) in codenames]
        group.permissions.set(permissions)
