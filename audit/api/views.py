"""The book as its creators may read it."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView

from audit.events import Event, summary_of
from audit.models import AuditLog, PersonalData
from audit.partitions import lowest_id

from .pagination import NewestFirst


class AuditEventsQuery(serializers.Serializer):
    type = serializers.ChoiceField(choices=[event.value for event in Event], required=False)
    after = serializers.DateTimeField(required=False, help_text="Events at this time or later.")
    before = serializers.DateTimeField(required=False, help_text="Events before this time.")


class AuditEventAnswer(serializers.Serializer):
    id = serializers.UUIDField()
    at = serializers.DateTimeField()
    type = serializers.CharField()
    summary = serializers.SerializerMethodField()
    ip_address = serializers.SerializerMethodField()
    user_agent = serializers.SerializerMethodField()
    request_id = serializers.CharField()
    detail = serializers.DictField()

    def get_summary(self, event: AuditLog) -> str:
        return summary_of(event.type, event.detail)

    def get_ip_address(self, event: AuditLog) -> str | None:
        personal = self.context["personal"].get(event.id)
        return personal.ip_address if personal else None

    def get_user_agent(self, event: AuditLog) -> str:
        personal = self.context["personal"].get(event.id)
        return personal.user_agent if personal else ""


class ExportedEvent(AuditEventAnswer):
    """With the address that stands beside it."""

    email = serializers.SerializerMethodField()

    def get_email(self, event: AuditLog) -> str:
        personal = self.context["personal"].get(event.id)
        return personal.email if personal else ""


def events_of(creator_id: UUID) -> QuerySet[AuditLog]:
    """All events of a creator; called inside their scope."""
    return AuditLog.objects.filter(creator_id=creator_id)


def as_json(
    creator_id: UUID, events: list[AuditLog], form: type[AuditEventAnswer] = AuditEventAnswer
) -> list[dict[str, Any]]:
    """Events with the personal data beside them, as the API shows them."""
    ids = [event.id for event in events]
    personal = {row.id: row for row in PersonalData.objects.filter(creator_id=creator_id, id__in=ids)}
    return list(form(events, many=True, context={"personal": personal}).data)


@extend_schema(parameters=[AuditEventsQuery], responses={200: AuditEventAnswer(many=True)})
class AuditEventsView(ListAPIView):
    """Your own events, the newest first."""

    pagination_class = NewestFirst
    serializer_class = AuditEventAnswer

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
        return self.get_paginated_response(as_json(request.user.pk, list(page or [])))
