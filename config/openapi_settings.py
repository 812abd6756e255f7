"""Settings of drf-spectacular."""

SPECTACULAR_SETTINGS = {
    "TITLE": "Creator accounts",
    "DESCRIPTION": (
        "Authentication for platforms whose tenants are creators. Errors are RFC 9457 problems with a `code` "
        "for programs. Times are RFC 3339 in UTC, bodies UTF-8 of at most 64 KiB; a NUL "
        "character in any field is refused with 400, an unknown method with 405."
    ),
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SCHEMA_PATH_PREFIX": "/api/v[0-9]+",
    "POSTPROCESSING_HOOKS": ["accounts.api.openapi_examples.add_examples"],
}
