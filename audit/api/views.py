from typing import Any, cast

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
        # a dict: a serializer ignores empty values of a QueryDict
        query = AuditEventsQuery(data=self.request.query_params.dict())
        query.is_valid(raise_exception=True)
        caller, data = cast("Any", self.request.user), query.validated_data
        # by id, which starts with the time: the partitions and the index are ordered by it
        bounds = {"id__gte": data.get("after"), "id__lt": data.get("before")}
        filters: dict[str, Any] = {lookup: lowest_id(at) for lookup, at in bounds.items() if at}
        if "type" in data:
            filters["type"] = data["type"]
        return events_of(caller.pk).filter(**filters)

    def list(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(
            AuditEventResponse(as_dicts(request.user.pk, page or []), many=True).data
        )
