"""Every setting of the service; docs/settings.md has the table. Nothing here is a rule."""

from datetime import timedelta
from email.utils import parseaddr
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy as _

from tenancy.roles import Roles

from .environment import BASE_DIR, Environment, invalid_setting, mail_domain
from .origins import default_origin, host_of, is_loopback

env = Environment()

# --- the process -----------------------------------------------------------------------------
DEBUG = env.boolean("DEBUG", default=False)
DATA_DIR = env.data_dir
SECRET_KEY = env.secret("SECRET_KEY")
HOST = env.host("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000, maximum=65535)
WORKER_THREADS = env.integer(
    "WORKER_THREADS", 4, minimum=3, maximum=1000
)  # of the WSGI server, in each process
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))

PUBLIC_URL = env.public_url(default_origin(HOST, PORT), debug=DEBUG)
_public_host = host_of(PUBLIC_URL)
ALLOWED_HOSTS = [
    _public_host,
    *(
        env.words(
            "ALLOWED_HOSTS", r"\*|[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\]", "takes host names, separated by commas"
        )
        or ["localhost", "127.0.0.1", "[::1]"]
    ),
]
TRUSTED_PROXY_COUNT = env.integer("TRUSTED_PROXY_COUNT", 0, minimum=0, maximum=16)
# a proxy on this machine may send nothing that tells its requests from the machine's own
METRICS_FROM_LOOPBACK = env.boolean(
    "METRICS_FROM_LOOPBACK", default=is_loopback(_public_host) and not TRUSTED_PROXY_COUNT
)
SERVICE_NAME = "Creator accounts"
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

# --- databases: one database, a role for each kind of work ----------------------------------------
DATABASES = {
    alias: database
    for alias, name in {
        "default": "DATABASE_URL",
        "operator": "OPERATOR_DATABASE_URL",
        "owner": "OWNER_DATABASE_URL",
    }.items()
    if (database := env.database(name)) is not None
}
if "default" not in DATABASES:
    invalid_setting(
        "DATABASE_URL", "is not set, and there is no instance in DATA_DIR: start one with `make run`"
    )
# a server's machine that falls silent refuses nothing: without these a request waits a quarter of an hour
CONNECTION_TIMEOUTS = {
    "connect_timeout": 2,  # seconds, and the minimum there is
    "tcp_user_timeout": 900,  # milliseconds until sent data must have arrived
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 1,
}
for _database in DATABASES.values():
    _database.update(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    _database["OPTIONS"] = CONNECTION_TIMEOUTS | _database.get("OPTIONS", {})
DATABASE_ROUTERS = ["tenancy.routers.TenancyRouter"]
SERVES_ADMIN = "operator" in DATABASES

_prefix = DATABASES["default"]["USER"].removesuffix("_app")
TENANT_ROLES = Roles(
    owner=DATABASES.get("owner", {}).get("USER") or f"{_prefix}_owner",
    app=DATABASES["default"]["USER"],
    operator=DATABASES.get("operator", {}).get("USER") or f"{_prefix}_operator",
    lookup=f"{_prefix}_lookup",
)
TENANT_RESOLVER = "accounts.api.authentication.resolve_tenant"
TENANT_GUARD = DEBUG  # a tenant query outside a scope raises; tests turn it on too
TENANT_OPERATOR_TABLES = ["creators_groups", "creators_user_permissions"]  # staff only: no grant for the app
_ALL = ["SELECT", "INSERT", "UPDATE", "DELETE"]
TENANT_GRANTS = {
    "app": {"django_tasks_database.dbtaskresult": ["INSERT"]},
    "lookup": {"axes.accessattempt": ["SELECT", "INSERT", "UPDATE", "DELETE"]},
    "operator": {
        "accounts.creator_groups": _ALL,
        "accounts.creator_user_permissions": _ALL,
        "admin": _ALL,
        "auth": _ALL,
        "axes": _ALL,
        "contenttypes": ["SELECT"],
        "django_tasks_database": _ALL,
        "sessions": _ALL,
    },
}
# SECURITY DEFINER functions, and who may call them
TENANT_FUNCTIONS = {
    "find_creator(text)": ["app", "operator"],
    "creators_refuse_reserved_email()": [],  # a trigger
    "lockout_reserve(text,text,uuid,integer,interval,interval)": ["app", "operator"],
    "lockout_finish(text,text,uuid,boolean)": ["app", "operator"],
    "lockout_release(uuid)": ["app", "operator"],
    "lockout_unlock(text,text)": ["app", "operator"],
    "audit_drop_partition(date)": ["operator"],
    "audit_ensure_partitions(integer)": ["operator"],
    "record_event(uuid,text,text,jsonb,inet,text,text)": ["app", "operator"],
    "events_at_own_address(uuid,integer)": ["app", "operator"],
    "creators_erase_personal_data()": [],  # of a trigger
}

_EVENT = "SELECT record_event(%(tenant)s, 'probe', '', '{}', NULL, '', '')"
TENANT_WRITERS = {"audit.AuditLog": _EVENT, "audit.PersonalData": _EVENT}  # where the app may not INSERT
# what the app's role must be refused whoever the tenant is, for `check_isolation`
TENANT_REFUSED = {
    "unlock an operator": "SELECT lockout_unlock('admin', 'x@example.com')",
    "count in the operators' scope": (
        "SELECT lockout_reserve('admin', 'x@example.com', gen_random_uuid(), 1, '1 day', '1 day')"
    ),
    "finish an attempt in the operators' scope": (
        "SELECT lockout_finish('second_factor', 'x@example.com', gen_random_uuid(), true)"
    ),
    "change the limits of the lockout": "UPDATE lockout_limits SET attempts = 100",
    "erase personal data": "DELETE FROM audit_personal_data",
    "write an event without its function": (
        "INSERT INTO audit_logs (id, creator_id, at, type, request_id, detail) "
        "VALUES (gen_random_uuid(), gen_random_uuid(), now(), 'probe', '', '{}')"
    ),
    "write an event of another tenant": (
        "SELECT set_config('app.current_creator_id', gen_random_uuid()::text, true); "
        "SELECT record_event(gen_random_uuid(), 'probe', '', '{}', NULL, '', '')"
    ),
    "drop a partition of the audit log": "SELECT audit_drop_partition('2001-01-01')",
}

# --- apps and middleware -----------------------------------------------------------------------
INSTALLED_APPS = [
    "tenancy",
    "audit",
    "accounts",
    "accounts.apps.OperatorAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "corsheaders",
    "csp",
    "django_otp",
    "django_tasks",
    "django_tasks_db",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
_OPERATOR_MIDDLEWARE = [
    "accounts.middleware.OperatorAliasMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "accounts.middleware.OperatorSessionMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
CORS_ALLOWED_ORIGINS = env.words(
    "CORS_ALLOWED_ORIGINS",
    r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?",
    "takes origins like https://app.example, separated by commas",
)
MIDDLEWARE = [
    "audit.requests.middleware.RequestMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "accounts.middleware.BodyLimitMiddleware",
    *(["corsheaders.middleware.CorsMiddleware"] if CORS_ALLOWED_ORIGINS else []),
    "accounts.middleware.MalformedRequestMiddleware",
    "accounts.middleware.HTMLMiddlewareStack",
    "tenancy.middleware.TenantMiddleware",
]
HTML_MIDDLEWARE = [  # of whatever is not under /api/v1/
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    *(_OPERATOR_MIDDLEWARE if SERVES_ADMIN else []),
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "accounts.views.service",
                *(
                    [
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                    if SERVES_ADMIN
                    else []
                ),
            ]
        },
    }
]
SILENCED_SYSTEM_CHECKS = [
    *([] if SERVES_ADMIN else ["admin.E404"]),  # loaded only where OPERATOR_DATABASE_URL is set
    "admin.E408",
    "admin.E409",
    "admin.E410",
    "security.W002",
    "security.W003",  # HTML_MIDDLEWARE has what these five miss in MIDDLEWARE
    # behind http:// (this machine only) there is nothing to redirect to and no HSTS
    *([] if PUBLIC_URL.startswith("https:") else ["security.W004", "security.W012", "security.W016"]),
    "security.W008",  # redirecting to https is the proxy's work
    "security.W021",  # preloading HSTS is the domain owner's decision
    "security.W005",  # so is HSTS for its other hosts
    "axes.W002",
    "axes.W003",
    "axes.W006",  # its middleware and backend: services.lockout stands in for both
    "auth.W004",  # e-mail is unique among the accounts that hold it; see Creator
]

# --- people ------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.Creator"
AUTHENTICATION_BACKENDS = ["accounts.backends.OperatorBackend"]
PASSWORD_MIN_LENGTH = env.integer("PASSWORD_MIN_LENGTH", 15, minimum=8, maximum=64)
ARGON2_TIME_COST = env.integer("ARGON2_TIME_COST", 3, maximum=100)
ARGON2_PARALLELISM = env.integer("ARGON2_PARALLELISM", 4, maximum=64)
ARGON2_MEMORY_COST = env.integer(  # KiB; RFC 9106 wants 8 a lane
    "ARGON2_MEMORY_COST", 65536, minimum=8 * ARGON2_PARALLELISM, maximum=4 * 1024 * 1024
)
BCRYPT_ROUNDS = env.integer("BCRYPT_ROUNDS", 12, minimum=4, maximum=31)
PASSWORD_HASHERS = [
    "accounts.passwords.hashers.Argon2Hasher",
    "accounts.passwords.hashers.BCryptSHA256Hasher",
    "accounts.passwords.hashers.BCryptHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "accounts.passwords.validators.LengthValidator", "OPTIONS": {"min_length": PASSWORD_MIN_LENGTH}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "accounts.passwords.validators.ContextValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ["email", "display_name"]},
    },
    {"NAME": "accounts.passwords.pwned.BreachedPasswordValidator"},
]
HIBP_ENABLED = env.boolean("HIBP_ENABLED", default=True)
HIBP_API_URL = env.url("HIBP_API_URL", "https://api.pwnedpasswords.com", "https", "http")
HIBP_TIMEOUT_SECONDS = env.number("HIBP_TIMEOUT_SECONDS", 1)  # for the whole exchange
PASSWORD_RESET_TOKEN_LIFETIME = timedelta(
    minutes=env.integer("PASSWORD_RESET_TOKEN_EXPIRE_MINUTES", 15, maximum=1440)
)
MAX_FAILED_LOGIN_ATTEMPTS = env.integer("MAX_FAILED_LOGIN_ATTEMPTS", 5, maximum=100)
ACCOUNT_LOCKOUT_DURATION = timedelta(
    minutes=env.integer("ACCOUNT_LOCKOUT_DURATION_MINUTES", 30, maximum=10080)
)
AXES_HANDLER = "accounts.axes_handler.LockoutHandler"
AXES_FAILURE_LIMIT = MAX_FAILED_LOGIN_ATTEMPTS
AXES_COOLOFF_TIME = ACCOUNT_LOCKOUT_DURATION
AXES_LOCKOUT_PARAMETERS = ["username"]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_VERBOSE = False
AXES_ENABLE_ADMIN = False  # accounts.admin has its own list
REQUIRE_EMAIL_VERIFICATION = env.boolean("REQUIRE_EMAIL_VERIFICATION", default=True)
EMAIL_VERIFICATION_TOKEN_LIFETIME = timedelta(
    hours=env.integer("EMAIL_VERIFICATION_TOKEN_EXPIRE_HOURS", 24, maximum=720)
)

AUDIT_RETENTION_MONTHS = env.integer("AUDIT_RETENTION_MONTHS", 0, minimum=0, maximum=1200)  # 0: pages stay
if 0 < AUDIT_RETENTION_MONTHS < 3:  # noqa: PLR2004
    invalid_setting("AUDIT_RETENTION_MONTHS", "takes 0, to keep everything, or at minimum 3")

# --- tokens ------------------------------------------------------------------------------------
JWT_ALGORITHM = env.choice(
    "JWT_ALGORITHM",
    "RS256",
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"),
)
JWT_SECRET_KEY = env.pem("JWT_SECRET_KEY")
JWT_RETIRED_KEYS = env.pem("JWT_RETIRED_KEYS")
JWT_KEY_ROTATION = timedelta(days=env.integer("JWT_KEY_ROTATION_DAYS", 90, maximum=3650))
JWT_ISSUER = env.text("JWT_ISSUER", PUBLIC_URL)
JWT_AUDIENCE = env.text("JWT_AUDIENCE", PUBLIC_URL)
JWT_ACCESS_TOKEN_LIFETIME = timedelta(
    minutes=env.integer("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", 60, maximum=1440)
)
JWT_REFRESH_TOKEN_LIFETIME = timedelta(days=env.integer("JWT_REFRESH_TOKEN_EXPIRE_DAYS", 30, maximum=3650))
JWT_REFRESH_GRACE = timedelta(seconds=env.integer("JWT_REFRESH_GRACE_SECONDS", 10, minimum=0, maximum=300))
SESSION_IDLE_LIFETIME = timedelta(
    days=env.integer("SESSION_IDLE_EXPIRE_DAYS", 0, minimum=0, maximum=3650)
)  # 0: off
MAX_SESSIONS_PER_CREATOR = env.integer("MAX_SESSIONS_PER_CREATOR", 0, minimum=0)  # 0: no cap
END_USER_SESSION_LIFETIME = timedelta(hours=env.integer("END_USER_SESSION_EXPIRE_HOURS", 24, maximum=87600))
EMAIL_CHANGE_LIFETIME = timedelta(hours=24)
EMAIL_CHANGE_UNDO_LIFETIME = timedelta(days=7)
JWKS_MAX_AGE = timedelta(
    minutes=5
)  # how long others may cache the JWKS; a new key waits as long before it signs

# --- limits: requests per client network and window; the name of a door is its key -------------------
_DEFAULT_RATES = {
    "login": "10/m",
    "register": "5/m",
    "email_verify": "10/m",
    "email_verify_resend": "5/m",
    "password_reset": "5/m",
    "password_reset_confirm": "10/m",
    "password_change": "5/m",
    "password_validate": "10/m",
    "refresh": "30/m",
    "end_user_session": "30/m",
    "default": "60/m",
}
RATE_LIMITS = {door: env.rate(f"RATE_LIMIT_{door.upper()}", rate) for door, rate in _DEFAULT_RATES.items()}
REDIS_URL = env.url("REDIS_URL", "", "redis", "rediss")
CACHES: dict[str, dict[str, object]] = {
    "default": {"BACKEND": "accounts.ratelimits.cache.DatabaseCounterCache"}
}
if REDIS_URL:
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.retry import Retry

    CACHES["default"] = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {
            "SOCKET_CONNECT_TIMEOUT": 0.5,
            "SOCKET_TIMEOUT": 0.5,
            # redis-py's own takes seconds; one is enough for a connection that died unnoticed, none for
            # a server that gives no answer: the client is to know within a second
            "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 1, (RedisConnectionError,))},
        },
    }
RATELIMIT_FAIL_OPEN = False

# --- the JSON doors ----------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.api.authentication.AccessTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "accounts.api.negotiation.AnyAccept",
    "DEFAULT_PARSER_CLASSES": ["accounts.api.parsers.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "accounts.api.openapi.OperationSchema",
    "EXCEPTION_HANDLER": "accounts.api.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "DATETIME_FORMAT": "iso-8601",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Creator accounts",
    "DESCRIPTION": (
        "Authentication for platforms whose tenants are creators. Errors are RFC 9457 problems; their `code` "
        "is what programs should look at. Times are RFC 3339 in UTC, bodies UTF-8 of at most 64 KiB; a NUL "
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
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
CORS_URLS_REGEX = r"^/(api|\.well-known)/"
CORS_EXPOSE_HEADERS = ["X-Request-ID", "Retry-After", "WWW-Authenticate"]

# --- browsers ----------------------------------------------------------------------------------
_SECURE = PUBLIC_URL.startswith("https:")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE = _SECURE
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = SESSION_COOKIE_SAMESITE = "Strict"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
CSRF_FAILURE_VIEW = "accounts.views.csrf_failure"
SESSION_COOKIE_PATH = "/admin/"
OPERATOR_SESSION_LIFETIME = timedelta(hours=12)
SESSION_COOKIE_AGE = 30 * 60  # seconds without a request; each one begins them anew
SECURE_HSTS_SECONDS = 31536000 if _SECURE else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXY_COUNT else None
SECURE_REFERRER_POLICY = "same-origin"  # no-referrer makes Chromium send Origin: null, which CSRF refuses
X_FRAME_OPTIONS = "DENY"
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True

# --- mail, and the queue that delivers it ------------------------------------------------------
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
_mail_domain = mail_domain(str(urlsplit(PUBLIC_URL).hostname))
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.mailbox("EMAIL_FROM", f"{SERVICE_NAME} <no-reply@{_mail_domain}>")
EMAIL_SENDER = parseaddr(DEFAULT_FROM_EMAIL)[1]  # of the envelope: bounces go there
EMAIL_REPLY_TO = env.mailbox("EMAIL_REPLY_TO", "")
EMAIL_HELO = env.mail_host("EMAIL_HELO", EMAIL_SENDER.rpartition("@")[2])
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"  # until EMAIL_URL names a server
EMAIL_FILE_PATH = DATA_DIR / "mail"
vars().update(env.mail())
EMAIL_TIMEOUT = 10  # seconds for each step; accounts/mail/smtp.py bounds the whole

# --- words and times ---------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("de", _("German"))]
LOCALE_PATHS = [BASE_DIR / "accounts" / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LOGGING = {
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
        "stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["request", "expected"]}
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": LOG_LEVEL},
        # at DEBUG these tell what pages and statements are filled with: tokens of links, hashes
        "django.template": {"level": "INFO"},
        "django.db.backends": {"level": "INFO"},
        "django.request": {"level": "ERROR"},  # refusals have their line from audit.requests
        "django.server": {"handlers": [], "propagate": True},
        # the event says what failed; these say which prefix was asked for, and that is part of a hash
        "pwned_passwords_django": {"level": "CRITICAL"},
        "httpx": {"level": "CRITICAL"},
        "httpcore": {"level": "CRITICAL"},
    },
}
