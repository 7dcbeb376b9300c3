"""Production: PostgreSQL, Redis, Vault or OpenBao (or an HSM), SMTP. Every missing setting stops the start and names itself."""

from __future__ import annotations

import environ
from django.core.exceptions import ImproperlyConfigured

from pkiportal.env import env_bool, env_int, env_list, env_secret, env_str
from pkiportal.settings.base import *  # noqa: F403 - Django's way of layering settings
from pkiportal.settings.base import BASE_DIR


def _needed(name: str, *, example: str) -> str:
    value = env_secret(name)
    if not value:
        raise ImproperlyConfigured(f"{name} (or {name}_FILE) must be set in production, for example {example}.")
    return value


PKI_EMBEDDED = False
AUDIT_HOME = env_str("PKI_AUDIT_HOME", str(BASE_DIR / "var"))  # the sealing key and the checkpoints; only the sealer reads the key
DEBUG = False
SECRET_KEY = _needed("SECRET_KEY", example="50 random characters")
ALLOWED_HOSTS = env_list("PKI_ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env_list("PKI_TRUSTED_ORIGINS")
if not ALLOWED_HOSTS:
    raise ImproperlyConfigured("PKI_ALLOWED_HOSTS must name the portal's hosts, for example pki.example.com.")

DATABASES = {"default": environ.Env.db_url_config(_needed("DATABASE_URL", example="postgres://portal@db/portal"))}
if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
    raise ImproperlyConfigured("DATABASE_URL must name a PostgreSQL database in production; SQLite is the embedded default only.")
DATABASES["default"]["CONN_MAX_AGE"] = env_int("PKI_DB_CONN_MAX_AGE", 60)
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True

REDIS_URL = _needed("REDIS_URL", example="redis://redis:6379/0")
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT_OPTIONS |= {
    "visibility_timeout": 900,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_keepalive": True,
    # Without a socket time-out a publish on a dead connection waits for ever, the web request with it.
    "socket_timeout": 5,
    "socket_connect_timeout": 3,
}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

vars().update(environ.Env.email_url_config(_needed("EMAIL_URL", example="smtp+tls://user:password@mail.example.com:587")))
EMAIL_TIMEOUT = 10

SECURE_SSL_REDIRECT = env_bool("PKI_SSL_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^pki/"]  # CRL, OCSP and CA certificates are fetched by plain HTTP
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env_bool("PKI_BEHIND_PROXY", default=False) else None
SECURE_HSTS_SECONDS = env_int("PKI_HSTS_SECONDS", 31536000)
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SESSION_COOKIE_AGE = 12 * 3600

STATIC_ROOT = env_str("PKI_STATIC_ROOT", str(BASE_DIR / "staticfiles"))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

_VAULT = {
    "url": env_str("VAULT_ADDR"),
    "namespace": env_str("VAULT_NAMESPACE"),
    "ca_cert": env_str("VAULT_CACERT"),
    "token": env_secret("VAULT_TOKEN"),
    "role_id": env_secret("VAULT_ROLE_ID"),
    "secret_id": env_secret("VAULT_SECRET_ID"),
}
KEY_BACKENDS: dict[str, dict[str, object]] = {}
if _VAULT["url"]:
    KEY_BACKENDS["vault"] = {
        "BACKEND": "keys.backends.vault.VaultKeyBackend",
        "OPTIONS": {
            **_VAULT,
            "mount": env_str("PKI_VAULT_LEAF_MOUNT", "transit-leaf"),
            "parallel": env_int("PKI_VAULT_PARALLEL", 8, minimum=1),
        },
    }
    KEY_BACKENDS["vault-ca"] = {
        "BACKEND": "keys.backends.vault.VaultKeyBackend",
        "OPTIONS": {**_VAULT, "mount": env_str("PKI_VAULT_CA_MOUNT", "transit-ca")},
    }
    # Only `bootstrap` has a token for it: no worker may sign with the root's key.
    KEY_BACKENDS["vault-root"] = {
        "BACKEND": "keys.backends.vault.VaultKeyBackend",
        "OPTIONS": {**_VAULT, "mount": env_str("PKI_VAULT_ROOT_MOUNT", "transit-root")},
    }
    # Keys of OCSP responders: made by workers of the CA role, used by whoever answers.
    KEY_BACKENDS["vault-ocsp"] = {
        "BACKEND": "keys.backends.vault.VaultKeyBackend",
        "OPTIONS": {**_VAULT, "mount": env_str("PKI_VAULT_OCSP_MOUNT", "transit-ocsp")},
    }
PKI_LEAF_KEY_BACKEND = env_str("PKI_LEAF_KEY_BACKEND", "vault")
PKI_CA_KEY_BACKEND = env_str("PKI_CA_KEY_BACKEND", "vault-ca")
PKI_ROOT_KEY_BACKEND = env_str("PKI_ROOT_KEY_BACKEND", "vault-root")
PKI_OCSP_KEY_BACKEND = env_str("PKI_OCSP_KEY_BACKEND", "vault-ocsp")
PKI_DEFAULT_CA = env_str("PKI_DEFAULT_CA", "Internal-CA-Prod")
CA_CLIENTS: dict[str, dict[str, object]] = {PKI_DEFAULT_CA: {"CLIENT": "certs.ca.local.LocalCAClient", "OPTIONS": {}}}
if env_str("PKI_REST_CA_URL"):
    CA_CLIENTS[env_str("PKI_REST_CA_NAME", "REST-CA")] = {
        "CLIENT": "certs.ca.rest.RestCAClient",
        "OPTIONS": {
            "url": env_str("PKI_REST_CA_URL"),
            "token": env_secret("PKI_REST_CA_TOKEN"),
            "ca_bundle": env_str("PKI_REST_CA_BUNDLE"),
            "chain_file": env_str("PKI_REST_CA_CHAIN"),
        },
    }
if env_str("PKI_VAULT_PKI_ROLE"):
    CA_CLIENTS[env_str("PKI_VAULT_PKI_NAME", "Vault-PKI")] = {
        "CLIENT": "certs.ca.vault_pki.VaultPKIClient",
        "OPTIONS": {**_VAULT, "mount": env_str("PKI_VAULT_PKI_MOUNT", "pki"), "role": env_str("PKI_VAULT_PKI_ROLE")},
    }
