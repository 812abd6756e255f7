"""The operators' site. Importing its modules registers their models."""

from . import api_keys, creators, lockouts, operators, refused_mails

__all__ = ["api_keys", "creators", "lockouts", "operators", "refused_mails"]
