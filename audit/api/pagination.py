from typing import Any
from uuid import UUID

from django.conf import settings
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import CursorPagination


class NewestFirst(CursorPagination):
    """Cursor pagination whose links start with PUBLIC_URL instead of the Host header."""

    page_size = 50
    ordering = "-id"  # a UUIDv7 starts with the time of creation

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> Any:
        try:
            page: Any = super().paginate_queryset(queryset, request, view)
        except (NotFound, ValueError, OverflowError) as error:
            raise ValidationError({"cursor": "Invalid cursor."}) from error
        self.base_url = settings.PUBLIC_URL + request.get_full_path()
        return page

    def get_paginated_response_schema(self, schema: Any) -> Any:
        link = {"type": ["string", "null"], "format": "uri"}
        page = {"next": link, "previous": link, "results": schema}
        return {"type": "object", "required": list(page), "properties": page}

    def decode_cursor(self, request: Any) -> Any:
        cursor = super().decode_cursor(request)
        if cursor and cursor.position is not None:
            UUID(str(cursor.position))  # ValueError: the cursor was made up
        return cursor
