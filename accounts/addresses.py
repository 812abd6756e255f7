import unicodedata

from django.contrib.postgres.search import SearchVectorField
from django.db.models import Func

SEPARATORS = ".-_+@"  # between the parts of an address


def canonical_email(text: str) -> str:
    """The one form in which an address is stored and compared: trimmed, NFKC, lower case."""
    return unicodedata.normalize("NFKC", text.strip()).lower()


class AddressParts(Func):
    """The parts of an address, as PostgreSQL's text search finds them by their beginnings.

    Put together by hand, since its parser takes addresses and numbers for units of their own. An
    empty part (`a..b`) would be an error.
    """

    template = (
        "array_to_tsvector(array_remove(string_to_array("
        f"translate(%(expressions)s, '{SEPARATORS}', '{' ' * len(SEPARATORS)}'), ' '), ''))"
    )
    output_field = SearchVectorField()
