from typing import Any

from django.conf import settings
from django.db.models import Model

from .context import current_alias

OWNER = "owner"


class TenancyRouter:
    """Routes all queries to the current alias. Only the owner migrates, if there is one."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        return current_alias()

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        return current_alias()

    def allow_relation(self, first: Model, second: Model, **hints: Any) -> bool:
        return True  # all aliases connect to one database

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == OWNER or OWNER not in settings.DATABASES
