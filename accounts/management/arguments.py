from argparse import ArgumentTypeError

from accounts.email_addresses import InvalidAddressError, canonical_email


def address(text: str) -> str:
    """Argument type that converts an email address to its stored form."""
    try:
        return canonical_email(text)
    except InvalidAddressError as error:
        raise ArgumentTypeError(str(error.message)) from error
