"""The operators' site, part by part; importing them registers them."""

from . import creators, lockouts, operators

__all__ = ["creators", "lockouts", "operators"]
