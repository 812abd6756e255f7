from django.urls import path

from . import views

urlpatterns = [path("events", views.AuditEventsView.as_view())]
