"""The operators' site, part by part; importing them registers them."""

from . import api_keys, creators, lockouts, operators, refused_mails

__all__ = ["api_keys", "creators", "lockouts", "operators", "refused_mails"]
