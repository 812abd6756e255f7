"""Logging: one JSON object a line on standard error."""

from typing import Any


def logging_config(level: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "request": {"()": "audit.requests.logs.RequestFilter"},
            "expected": {"()": "audit.requests.logs.ExpectedErrorsFilter"},
        },
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s",
                "rename_fields": {"asctime": "at", "levelname": "level", "name": "logger"},
            }
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "filters": ["request", "expected"],
            }
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level},
            # at DEBUG these log the values in pages and statements: link tokens, hashes
            "django.template": {"level": "INFO"},
            "django.db.backends": {"level": "INFO"},
            "django.request": {"level": "ERROR"},  # audit.requests logs the refusals
            "django.server": {"handlers": [], "propagate": True},
            # an audit event reports the failure; these log the prefix, which is part of a password hash
            "pwned_passwords_django": {"level": "CRITICAL"},
            "httpx": {"level": "CRITICAL"},
            "httpcore": {"level": "CRITICAL"},
        },
    }
