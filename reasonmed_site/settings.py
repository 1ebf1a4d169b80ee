"""All settings, from the environment only. A bad value stops the start with its name in the message."""

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from reasonmed_site import postgres

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("REASONMED_VAR", BASE_DIR / "var")).resolve()


def env_bool(name: str, default: bool) -> bool:
    raw = os.environ.get(name, "").strip().lower()
    if raw in ("", "0", "1", "true", "false", "yes", "no"):
        return default if raw == "" else raw in ("1", "true", "yes")
    raise ImproperlyConfigured(f"{name}={raw!r}: use 1 or 0.")


def env_seconds(name: str, default: float) -> float:
    try:
        seconds = float(os.environ.get(name, "").strip() or default)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 86_400:
        raise ImproperlyConfigured(f"{name}={os.environ.get(name)!r}: use a number of seconds above 0, at most a day.")
    return seconds


def env_count(name: str, default: int) -> int:
    raw = os.environ.get(name, "").strip() or str(default)
    if not raw.isdecimal() or len(raw) > 4:
        raise ImproperlyConfigured(f"{name}={raw!r}: use a number from 0.")
    return int(raw)


def env_list(name: str, default: str) -> list[str]:
    return [part.strip() for part in os.environ.get(name, default).split(",") if part.strip()]


# A host that is cut off must be noticed by either end within half a minute, as its leases are: it may hold locks, and the
# leadership of the workers. Nothing to pgbouncer but a parameter to ignore (ignore_startup_parameters = options).
ALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "options": "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    " -c tcp_user_timeout=30000 -c idle_in_transaction_session_timeout=600000",
}


def database_from_url(url: str) -> dict[str, Any]:
    """Django's DATABASES entry for a postgresql:// URL (a `host` query parameter may name a socket folder)."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured("DATABASE_URL must start with postgresql://; no other database is supported.")
    query = dict(parse_qsl(parts.query))
    try:
        port = parts.port
    except ValueError as error:
        raise ImproperlyConfigured(f"DATABASE_URL: {error}") from error
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "reasonmed",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", "") or unquote(parts.hostname or ""),
        "PORT": str(port or query.pop("port", "")),
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 10, **ALIVE, **query},
    }


def secret_key() -> str:
    """DJANGO_SECRET_KEY, or one generated once and kept under var/ for a local instance."""
    if key := os.environ.get("DJANGO_SECRET_KEY"):
        return key
    if not DEBUG and not LOCAL:
        raise ImproperlyConfigured("DJANGO_SECRET_KEY is required when REASONMED_PUBLIC=1.")
    path = VAR_DIR / "secret_key"
    if not path.exists():
        VAR_DIR.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_urlsafe(50))
        path.chmod(0o600)
    return path.read_text().strip()


DEBUG = env_bool("DJANGO_DEBUG", False)
LOCAL = not env_bool("REASONMED_PUBLIC", False)  # a local instance listens on loopback over plain HTTP
SECRET_KEY = secret_key()
ALLOWED_HOSTS = env_list("DJANGO_ALLOWED_HOSTS", "127.0.0.1,localhost,[::1],testserver" if LOCAL else "")
CSRF_TRUSTED_ORIGINS = env_list("DJANGO_CSRF_TRUSTED_ORIGINS", "")

DATABASE_URL = os.environ.get("DATABASE_URL", "")
EMBEDDED_POSTGRES = not DATABASE_URL
DATABASES = {"default": database_from_url(DATABASE_URL or postgres.url(VAR_DIR))}
DRAMATIQ_BROKER_URL = os.environ.get("DRAMATIQ_BROKER_URL", "")  # empty: in-process broker
BATCH_POLL_S = env_seconds("REASONMED_BATCH_POLL_S", 10)  # between looks at a batch, rising to six times that
BATCH_GATHER_S = env_seconds("REASONMED_BATCH_GATHER_S", 30)  # without new work, before a file that is not full leaves

INSTALLED_APPS = [
    "apps.questions",
    "apps.reasoning",
    "apps.pipeline",
    "apps.review",
    "apps.exports",
    "apps.evaluation",
    "workers",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "django_htmx",
    "csp",
    "ninja",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "reasonmed_site.urls"
WSGI_APPLICATION = "reasonmed_site.wsgi.application"
ASGI_APPLICATION = "reasonmed_site.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "login"

AUTHENTICATION_BACKENDS = ["apps.questions.people.PeopleBackend"]
LANGUAGE_CODE = "en-gb"
USE_TZ = True
TIME_ZONE = "UTC"
USE_THOUSAND_SEPARATOR = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = VAR_DIR / "staticfiles"
PUBLISHER = os.environ.get("REASONMED_PUBLISHER", "").strip()  # whom exports are cited by; empty: the project's name
EXPORT_DIR = Path(os.environ.get("REASONMED_EXPORTS", VAR_DIR / "exports"))
# processes beside a large one's builder
EXPORT_READERS = env_count("REASONMED_EXPORT_WORKERS", min(os.cpu_count() or 1, 8))
SENDFILE = os.environ.get("REASONMED_SENDFILE", "").strip().lower()  # who sends their files; empty: Python

# Security
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = not LOCAL
CSRF_COOKIE_SECURE = not LOCAL
SECURE_SSL_REDIRECT = not LOCAL
SECURE_REDIRECT_EXEMPT = [r"^health/", r"^metrics/"]  # asked from inside, without the proxy
SECURE_HSTS_SECONDS = 0 if LOCAL else 31_536_000
SECURE_PROXY_SSL_HEADER = None if LOCAL else ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "manifest-src": ["'self'"],
    }
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"},
        "json": {"()": "reasonmed_site.logs.JsonLines"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "json" if os.environ.get("REASONMED_LOG_FORMAT") == "json" else "line",
        }
    },
    "root": {"handlers": ["stderr"], "level": os.environ.get("REASONMED_LOG_LEVEL", "WARNING")},
}
