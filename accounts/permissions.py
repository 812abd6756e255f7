"""What operators may do: the permissions of their roles. Superusers have all permissions.

`services/operators/support.py` names the permission that each support action requires.
"""

from typing import Any

from django.apps import AppConfig

CREATOR_PERMISSIONS: list[tuple[str, Any]] = [  # of the model, in addition to Django's own
    ("unlock", "Can unlock sign-in"),
    ("end_sessions", "Can end sessions"),
    ("send_reset", "Can send a mail to reset the password"),
    ("deactivate_creator", "Can deactivate and reactivate"),
    ("mark_verified", "Can mark an email address as verified"),
]
_SUPPORT = {
    "accounts.view_creator",
    "accounts.unlock",
    "accounts.end_sessions",
    "accounts.send_reset",
    "accounts.view_refusedmail",
}
_SECURITY = _SUPPORT | {
    "accounts.deactivate_creator",
    "accounts.mark_verified",
    "accounts.view_apikey",
    "accounts.revoke_apikey",
    "audit.view_auditlog",
    "audit.export_auditlog",
}
ROLES = {"support": _SUPPORT, "security": _SECURITY}  # name of the group → its permissions


def ensure_roles(app_config: AppConfig, *, using: str, apps: Any, **kwargs: Any) -> None:
    """Create the groups and reset their permissions. Runs after each migrate, when all permissions exist.

    A data migration would not restore them in a flushed database.
    """
    try:
        group_model = apps.get_model("auth", "Group")
        permission_model = apps.get_model("auth", "Permission")
    except LookupError:  # migrated back to zero
        return
    for name, labels in ROLES.items():
        group, _ = group_model.objects.using(using).get_or_create(name=name)
        codenames = {tuple(label.split(".")) for label in labels}
        existing = permission_model.objects.using(using).select_related("content_type")
        group.permissions.set(
            permission
            for permission in existing
            if (permission.content_type.app_label, permission.codename) in codenames
        )
