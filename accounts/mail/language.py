from django.conf import settings
from django.utils.translation import get_language


def current_language() -> str:
    """The language of the request, for the emails that it causes."""
    return get_language() or settings.LANGUAGE_CODE
