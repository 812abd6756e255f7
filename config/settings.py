"""Django's settings, read from the environment. docs/settings.md has the table of variables."""

from datetime import timedelta
from email.utils import parseaddr
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy as _

from .databases import caches, databases, tenant_roles
from .environment import BASE_DIR, Environment, invalid_setting, mail_domain
from .logging import logging_config
from .openapi_settings import SPECTACULAR_SETTINGS  # noqa: F401
from .origins import default_origin, host_of, is_loopback
from .tenancy import (  # noqa: F401
    TENANT_FUNCTIONS,
    TENANT_GRANTS,
    TENANT_OPERATOR_TABLES,
    TENANT_REFUSED,
    TENANT_RESOLVER,
    TENANT_WRITERS,
)

env = Environment()

# --- the process -----------------------------------------------------------------------------
DEBUG = env.boolean("DEBUG", default=False)
DATA_DIR = env.data_dir
SECRET_KEY = env.secret("SECRET_KEY")
HOST = env.host("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000, maximum=65535)
WORKER_THREADS = env.integer("WORKER_THREADS", 4, minimum=3, maximum=1000)  # of each server process
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))

PUBLIC_URL = env.public_url(default_origin(HOST, PORT), debug=DEBUG)
_public_host = host_of(PUBLIC_URL)
_allowed_hosts = env.words(
    "ALLOWED_HOSTS", r"\*|[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\]", "takes host names, separated by commas"
)
ALLOWED_HOSTS = [_public_host, *(_allowed_hosts or ["localhost", "127.0.0.1", "[::1]"])]
TRUSTED_PROXY_COUNT = env.integer("TRUSTED_PROXY_COUNT", 0, minimum=0, maximum=16)
# requests through a proxy on this machine may look like those of the machine itself
METRICS_FROM_LOOPBACK = env.boolean(
    "METRICS_FROM_LOOPBACK", default=is_loopback(_public_host) and not TRUSTED_PROXY_COUNT
)
SERVICE_NAME = "Creator accounts"
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

# --- databases: one database, one alias for each role ---------------------------------------------
DATABASES = databases(env)
DATABASE_ROUTERS = ["tenancy.routers.TenancyRouter"]
SERVES_ADMIN = "operator" in DATABASES
TENANT_ROLES = tenant_roles(DATABASES)
TENANT_GUARD = DEBUG  # a tenant query outside a scope raises; tests turn it on too

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
HTML_MIDDLEWARE = [  # runs for every path outside /api/v1/
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    *(_OPERATOR_MIDDLEWARE if SERVES_ADMIN else []),
]
_OPERATOR_CONTEXT = [
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "accounts.views.service_context",
                *(_OPERATOR_CONTEXT if SERVES_ADMIN else []),
            ]
        },
    }
]
SILENCED_SYSTEM_CHECKS = [
    # the admin is installed even if OPERATOR_DATABASE_URL is not set, but then it is not served
    *([] if SERVES_ADMIN else ["admin.E404"]),
    # HTML_MIDDLEWARE has the middleware that these five miss in MIDDLEWARE
    *("admin.E408", "admin.E409", "admin.E410", "security.W002", "security.W003"),
    # PUBLIC_URL is http:// only on this machine: there is no HSTS, no redirect and no secure cookie
    *([] if PUBLIC_URL.startswith("https:") else ["security.W004", "security.W012", "security.W016"]),
    "security.W008",  # the proxy redirects to https
    "security.W021",  # the owner of the domain decides on HSTS preloading
    "security.W005",  # and on HSTS for its subdomains
    # services.lockout replaces the middleware and the backend of django-axes
    *("axes.W002", "axes.W003", "axes.W006"),
    "auth.W004",  # email is unique among the accounts that hold it: see Creator
]

# --- accounts ----------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.Creator"
AUTHENTICATION_BACKENDS = ["accounts.backends.OperatorBackend"]
PASSWORD_MIN_LENGTH = env.integer("PASSWORD_MIN_LENGTH", 15, minimum=8, maximum=64)
ARGON2_TIME_COST = env.integer("ARGON2_TIME_COST", 3, maximum=100)
ARGON2_PARALLELISM = env.integer("ARGON2_PARALLELISM", 4, maximum=64)
ARGON2_MEMORY_COST = env.integer(  # KiB; RFC 9106 requires 8 for each lane
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
AXES_ENABLE_ADMIN = False  # accounts.admin has its own page
REQUIRE_EMAIL_VERIFICATION = env.boolean("REQUIRE_EMAIL_VERIFICATION", default=True)
EMAIL_VERIFICATION_TOKEN_LIFETIME = timedelta(
    hours=env.integer("EMAIL_VERIFICATION_TOKEN_EXPIRE_HOURS", 24, maximum=720)
)

AUDIT_RETENTION_MONTHS = env.integer("AUDIT_RETENTION_MONTHS", 0, minimum=0, maximum=1200)  # 0: forever
if 0 < AUDIT_RETENTION_MONTHS < 3:  # noqa: PLR2004
    invalid_setting("AUDIT_RETENTION_MONTHS", "takes 0 (keep everything) or at least 3")

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
SESSION_IDLE_LIFETIME = timedelta(days=env.integer("SESSION_IDLE_EXPIRE_DAYS", 0, minimum=0, maximum=3650))
MAX_SESSIONS_PER_CREATOR = env.integer("MAX_SESSIONS_PER_CREATOR", 0, minimum=0)  # 0: no limit
END_USER_SESSION_LIFETIME = timedelta(hours=env.integer("END_USER_SESSION_EXPIRE_HOURS", 24, maximum=87600))
EMAIL_CHANGE_LIFETIME = timedelta(hours=24)
EMAIL_CHANGE_UNDO_LIFETIME = timedelta(days=7)
JWKS_MAX_AGE = timedelta(minutes=5)  # of a client's cache; a new key waits as long before it signs

# --- rate limits: requests per scope, client network and window -----------------------------------
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
RATE_LIMITS = {scope: env.rate(f"RATE_LIMIT_{scope.upper()}", rate) for scope, rate in _DEFAULT_RATES.items()}
REDIS_URL = env.url("REDIS_URL", "", "redis", "rediss")
CACHES = caches(REDIS_URL)
RATELIMIT_FAIL_OPEN = False

# --- the JSON API ----------------------------------------------------------------------------
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
SESSION_COOKIE_AGE = 30 * 60  # seconds without a request
SECURE_HSTS_SECONDS = 31536000 if _SECURE else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXY_COUNT else None
SECURE_REFERRER_POLICY = (
    "same-origin"  # with no-referrer Chromium sends Origin: null, which fails the CSRF check
)
X_FRAME_OPTIONS = "DENY"
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True

# --- mail and its queue ------------------------------------------------------------------------
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
_mail_domain = mail_domain(str(urlsplit(PUBLIC_URL).hostname))
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.mailbox("EMAIL_FROM", f"{SERVICE_NAME} <no-reply@{_mail_domain}>")
EMAIL_SENDER = parseaddr(DEFAULT_FROM_EMAIL)[1]  # envelope sender: bounces go there
EMAIL_REPLY_TO = env.mailbox("EMAIL_REPLY_TO", "")
EMAIL_HELO = env.mail_host("EMAIL_HELO", EMAIL_SENDER.rpartition("@")[2])
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"  # if EMAIL_URL is not set
EMAIL_FILE_PATH = DATA_DIR / "mail"
vars().update(env.mail())
EMAIL_TIMEOUT = 10  # seconds for each SMTP command; accounts/mail/smtp.py limits the whole delivery

# --- language and time -------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("de", _("German"))]
LOCALE_PATHS = [BASE_DIR / "accounts" / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING = logging_config(LOG_LEVEL)
