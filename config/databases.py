"""DATABASES and CACHES, from the URLs of the environment."""

from typing import Any

from tenancy.roles import Roles

from .environment import Environment, invalid_setting

URLS = {"default": "DATABASE_URL", "operator": "OPERATOR_DATABASE_URL", "owner": "OWNER_DATABASE_URL"}
# If the database host disappears without closing the connection, TCP would wait 15 minutes; these
# timeouts detect it within seconds.
CONNECTION_TIMEOUTS = {
    "connect_timeout": 2,  # seconds; libpq accepts no less
    "tcp_user_timeout": 900,  # milliseconds until sent data must be acknowledged
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 1,
}


def databases(env: Environment) -> dict[str, dict[str, Any]]:
    """One alias for each role that has a URL; they all lead to the same database."""
    configured = {alias: config for alias, name in URLS.items() if (config := env.database(name)) is not None}
    if "default" not in configured:
        takes = "is not set, and DATA_DIR has no instance: start one with `make run`"
        invalid_setting("DATABASE_URL", takes)
    for config in configured.values():
        config.update(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
        config["OPTIONS"] = CONNECTION_TIMEOUTS | config.get("OPTIONS", {})
    return configured


def tenant_roles(databases: dict[str, dict[str, Any]]) -> Roles:
    """The roles in the URLs. A role without a URL is named like the app role: `auth_app`, `auth_owner`."""
    users = {alias: config["USER"] for alias, config in databases.items()}
    prefix = users["default"].removesuffix("_app")
    owner, operator = users.get("owner", f"{prefix}_owner"), users.get("operator", f"{prefix}_operator")
    return Roles(owner=owner, app=users["default"], operator=operator, lookup=f"{prefix}_lookup")


def caches(redis_url: str) -> dict[str, dict[str, Any]]:
    """The counters of the rate limits: in Redis if it has a URL, otherwise in PostgreSQL."""
    if not redis_url:
        return {"default": {"BACKEND": "accounts.ratelimits.cache.DatabaseCounterCache"}}
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.retry import Retry

    # Clients must get a response within a second; redis-py's default retries take several. A lost connection
    # is retried once, a timeout never.
    retry = Retry(NoBackoff(), 1, (RedisConnectionError,))
    options = {
        "SOCKET_CONNECT_TIMEOUT": 0.5,
        "SOCKET_TIMEOUT": 0.5,
        "CONNECTION_POOL_KWARGS": {"retry": retry},
    }
    redis = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url, "OPTIONS": options}
    return {"default": redis}
