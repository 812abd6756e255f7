"""The book as its creators may read it."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView

from audit.events import Event
from audit.models import AuditLog
from audit.partitions import lowest_id
from audit.queries import as_dicts, events_of

from .pagination import NewestFirst


class AuditEventsQuery(serializers.Serializer):
    type = serializers.ChoiceField(choices=[event.value for event in Event], required=False)
    after = serializers.DateTimeField(required=False, help_text="Events at this time or later.")
    before = serializers.DateTimeField(required=False, help_text="Events before this time.")


class AuditEventResponse(serializers.Serializer):
    """One of `audit.queries.as_dicts`."""

    id = serializers.UUIDField()
    at = serializers.DateTimeField()
    type = serializers.CharField()
    summary = serializers.CharField()
    ip_address = serializers.CharField(allow_null=True)
    user_agent = serializers.CharField()
    request_id = serializers.CharField()
    detail = serializers.DictField()


@extend_schema(parameters=[AuditEventsQuery])
class AuditEventsView(ListAPIView):
    """Your own events, the newest first."""

    pagination_class = NewestFirst
    serializer_class = AuditEventResponse

    def get_queryset(self) -> QuerySet[AuditLog]:
        query = AuditEventsQuery(
            data=self.request.query_params.dict()
        )  # of a form, empty values would not count
        query.is_valid(raise_exception=True)
        caller: Any = self.request.user
        events = events_of(caller.pk)
        if "type" in query.validated_data:
            events = events.filter(type=query.validated_data["type"])
        # by id, which begins with the time and is what the partitions and the index go by
        if "after" in query.validated_data:
            events = events.filter(id__gte=lowest_id(query.validated_data["after"]))
        if "before" in query.validated_data:
            events = events.filter(id__lt=lowest_id(query.validated_data["before"]))
        return events

    def list(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(
            AuditEventResponse(as_dicts(request.user.pk, page or []), many=True).data
        )
