import unicodedata


def canonical_email(text: str) -> str:
    """The one form in which an address is stored and compared: trimmed, NFKC, lower case."""
    return unicodedata.normalize("NFKC", text.strip()).lower()
