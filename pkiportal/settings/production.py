"""Production: PostgreSQL, Redis, Vault or OpenBao (or an HSM), SMTP. Every missing setting stops the start and names itself."""

from __future__ import annotations

from pkiportal.env import (
    env_address,
    env_bool,
    env_certificates,
    env_endpoint,
    env_folder,
    env_hosts,
    env_int,
    env_name,
    env_origins,
    env_other_name,
    env_roles,
    env_secret,
    env_sender,
    env_str,
    env_together,
    env_token,
    env_vault_path,
    env_vault_role,
    host_of,
    is_email,
    leads_to_itself,
    needed,
    refused,
)
from pkiportal.env_services import end_lost_sessions, env_database, env_redis, env_smtp
from pkiportal.settings.base import *  # noqa: F403 - Django's way of layering settings
from pkiportal.settings.base import BASE_DIR, DEFAULT_FROM_EMAIL

PKI_EMBEDDED = False
AUDIT_HOME = env_folder("PKI_AUDIT_HOME", str(BASE_DIR / "var"))  # the sealing key and the checkpoints; only the sealer reads the key
DEBUG = False
SECRET_KEY = needed("SECRET_KEY", env_secret("SECRET_KEY", at_least=32), example="50 random characters")
SECRET_KEY_FALLBACKS = [_old] if (_old := env_secret("SECRET_KEY_FALLBACK", at_least=32)) else []
# Defaults that are right for a trial would be in certificates permanently, or send every alert nowhere.
needed("PKI_BASE_URL", env_str("PKI_BASE_URL"), example="http://pki.example.com")
if leads_to_itself(host_of(PKI_BASE_URL)):
    raise refused(
        "PKI_BASE_URL",
        "must be an address at which clients elsewhere reach the portal, such as http://pki.example.com: it stands in certificates "
        "permanently, and this one leads each client to its own machine.",
    )
needed("PKI_OPERATOR_EMAILS", env_str("PKI_OPERATOR_EMAILS"), example="pki-operators@example.com")
_HOSTS = env_hosts("PKI_ALLOWED_HOSTS")
needed("PKI_ALLOWED_HOSTS", ",".join(_HOSTS), example="pki.example.com")
# CA certificates are fetched under the address in certificates, which may have a host name of its own.
ALLOWED_HOSTS = list(dict.fromkeys([*_HOSTS, host_of(PKI_BASE_URL)]))
CSRF_TRUSTED_ORIGINS = env_origins("PKI_TRUSTED_ORIGINS")
if not env_str("PKI_PORTAL_URL"):
    _exact = [origin for origin in CSRF_TRUSTED_ORIGINS if "*" not in origin]
    PKI_PORTAL_URL = _exact[0] if _exact else f"https://{_HOSTS[0].lstrip('.*') or host_of(PKI_BASE_URL)}"

# The domain of the default for a trial says that no host may send its mails (RFC 7208), so that receivers would refuse them.
_SENDER = f"pki-portal@{host_of(PKI_PORTAL_URL)}"
DEFAULT_FROM_EMAIL = env_sender("PKI_FROM_EMAIL", _SENDER if is_email(_SENDER) else DEFAULT_FROM_EMAIL)

DATABASES = {"default": env_database("DATABASE_URL")}
end_lost_sessions(DATABASES["default"])
DATABASES["default"]["CONN_MAX_AGE"] = env_int("PKI_DB_CONN_MAX_AGE", 60, maximum=86_400)
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True

REDIS_URL = env_redis("REDIS_URL")
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT_OPTIONS |= {
    "visibility_timeout": 900,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_keepalive": True,
    # Without a socket time-out a publish on a dead connection waits permanently, the web request with it.
    "socket_timeout": 5,
    "socket_connect_timeout": 3,
}

vars().update(env_smtp("EMAIL_URL"))
EMAIL_TIMEOUT = 10

SECURE_SSL_REDIRECT = env_bool("PKI_SSL_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^pki/"]  # CRL, OCSP and CA certificates are fetched by plain HTTP
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env_bool("PKI_BEHIND_PROXY", default=False) else None
SECURE_HSTS_SECONDS = env_int("PKI_HSTS_SECONDS", 31536000)
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SESSION_COOKIE_AGE = 12 * 3600
PKI_SECOND_FACTOR_ROLES = env_roles("PKI_SECOND_FACTOR_ROLES", "approver,security officer,security-team,operator,administrator")

STATIC_ROOT = env_folder("PKI_STATIC_ROOT", str(BASE_DIR / "staticfiles"))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "pkiportal.web.static_files.GzippedStaticFiles"},
}

_VAULT = {
    "url": env_address("VAULT_ADDR", schemes=["https", "http"], example="https://openbao:8200"),
    "namespace": env_vault_path("VAULT_NAMESPACE"),
    "ca_cert": env_certificates("VAULT_CACERT"),
    "token": env_token("VAULT_TOKEN"),
    "role_id": env_secret("VAULT_ROLE_ID"),
    "secret_id": env_secret("VAULT_SECRET_ID"),
}
# Half a login would be refused by Vault at the first key, long after the start.
env_together("VAULT_ROLE_ID", _VAULT["role_id"], "VAULT_SECRET_ID (or VAULT_SECRET_ID_FILE)", _VAULT["secret_id"])
env_together("VAULT_SECRET_ID", _VAULT["secret_id"], "VAULT_ROLE_ID (or VAULT_ROLE_ID_FILE)", _VAULT["role_id"])
KEY_BACKENDS: dict[str, dict[str, object]] = {}
if _VAULT["url"]:
    KEY_BACKENDS["vault"] = {
        "BACKEND": "keys.backends.vault.VaultKeyBackend",
        "OPTIONS": {
            **_VAULT,
            "mount": env_vault_path("PKI_VAULT_LEAF_MOUNT", "transit-leaf"),
            "parallel": env_int("PKI_VAULT_PARALLEL", 8, minimum=1, maximum=128),
        },
    }
    KEY_BACKENDS["vault-ca"] = {
        "BACKEND": "keys.backends.vault.VaultKeyBackend",
        "OPTIONS": {**_VAULT, "mount": env_vault_path("PKI_VAULT_CA_MOUNT", "transit-ca")},
    }
    # Only `bootstrap` has a token for it: no worker may sign with the root's key.
    KEY_BACKENDS["vault-root"] = {
        "BACKEND": "keys.backends.vault.VaultKeyBackend",
        "OPTIONS": {**_VAULT, "mount": env_vault_path("PKI_VAULT_ROOT_MOUNT", "transit-root")},
    }
    # Keys of OCSP responders: made by workers of the CA role, used by the processes that reply.
    KEY_BACKENDS["vault-ocsp"] = {
        "BACKEND": "keys.backends.vault.VaultKeyBackend",
        "OPTIONS": {**_VAULT, "mount": env_vault_path("PKI_VAULT_OCSP_MOUNT", "transit-ocsp")},
    }
PKI_LEAF_KEY_BACKEND = env_name("PKI_LEAF_KEY_BACKEND", "vault")
PKI_CA_KEY_BACKEND = env_name("PKI_CA_KEY_BACKEND", "vault-ca")
PKI_ROOT_KEY_BACKEND = env_name("PKI_ROOT_KEY_BACKEND", "vault-root")
PKI_OCSP_KEY_BACKEND = env_name("PKI_OCSP_KEY_BACKEND", "vault-ocsp")
PKI_DEFAULT_CA = env_name("PKI_DEFAULT_CA", "Internal-CA-Prod")
CA_CLIENTS: dict[str, dict[str, object]] = {PKI_DEFAULT_CA: {"CLIENT": "certs.ca.local.LocalCAClient", "OPTIONS": {}}}
if _REST_CA_URL := env_endpoint("PKI_REST_CA_URL", example="https://ca.example.com"):
    CA_CLIENTS[env_other_name("PKI_REST_CA_NAME", "REST-CA", taken=CA_CLIENTS)] = {
        "CLIENT": "certs.ca.rest.RestCAClient",
        "OPTIONS": {
            "url": _REST_CA_URL,
            "token": env_token("PKI_REST_CA_TOKEN"),
            "ca_bundle": env_certificates("PKI_REST_CA_BUNDLE"),
            "chain_file": env_certificates("PKI_REST_CA_CHAIN"),
        },
    }
for _name in ("PKI_REST_CA_TOKEN", "PKI_REST_CA_TOKEN_FILE", "PKI_REST_CA_BUNDLE", "PKI_REST_CA_CHAIN"):
    env_together(_name, env_str(_name), "PKI_REST_CA_URL", _REST_CA_URL)
if _VAULT_PKI_ROLE := env_vault_role("PKI_VAULT_PKI_ROLE"):
    env_together("PKI_VAULT_PKI_ROLE", _VAULT_PKI_ROLE, "VAULT_ADDR", _VAULT["url"])
    CA_CLIENTS[env_other_name("PKI_VAULT_PKI_NAME", "Vault-PKI", taken=CA_CLIENTS)] = {
        "CLIENT": "certs.ca.vault_pki.VaultPKIClient",
        "OPTIONS": {**_VAULT, "mount": env_vault_path("PKI_VAULT_PKI_MOUNT", "pki"), "role": _VAULT_PKI_ROLE},
    }
