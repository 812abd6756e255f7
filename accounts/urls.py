from django.urls import path

from . import views

urlpatterns = [
    path("verify-email/done/", views.verify_email_done, name="verify-email-done"),
    path("verify-email/<str:uid>/<str:token>/", views.verify_email, name="verify-email"),
]
