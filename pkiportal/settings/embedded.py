"""The embedded default: SQLite, the worker in the process, local encrypted keys, mail in files. One host, one web process.

All data is under `var/` in the checkout, or where PKI_HOME points.
"""

from __future__ import annotations

import os
from pathlib import Path

from pkiportal.env import env_bool, env_folder, env_hosts, env_name, env_networks, env_secret, env_str, refused
from pkiportal.home import kept_secret, prepare_home
from pkiportal.settings.base import *  # noqa: F403 - Django's way of layering settings
from pkiportal.settings.base import BASE_DIR, PKI_DEFAULT_CA

PKI_EMBEDDED = True
PKI_SINGLE_OFFICER = env_bool("PKI_SINGLE_OFFICER", default=False)
PKI_HOME = Path(env_str("PKI_HOME") or BASE_DIR / "var").resolve()
DEBUG = env_bool("PKI_DEBUG", default=False)
ALLOWED_HOSTS = env_hosts("PKI_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
_GIVEN_SECRET_KEY = env_secret("SECRET_KEY", at_least=32)
SECRET_KEY_FALLBACKS = [_old] if (_old := env_secret("SECRET_KEY_FALLBACK", at_least=32)) else []
PKI_CA_KEY_BACKEND = env_name("PKI_CA_KEY_BACKEND", "local")
PKI_ROOT_KEY_BACKEND = env_name("PKI_ROOT_KEY_BACKEND", "root")
PKI_OCSP_KEY_BACKEND = env_name("PKI_OCSP_KEY_BACKEND", "local")
# Every variable is read: from here on, files are made.
try:
    prepare_home(PKI_HOME, database="portal.sqlite3", mail="mail")
except OSError as exc:
    raise refused("PKI_HOME", f"must name a folder that this process can make or write to: {exc.strerror}.") from None
try:
    SECRET_KEY = _GIVEN_SECRET_KEY or kept_secret(PKI_HOME / "secret_key")
except (OSError, ValueError) as exc:
    raise refused(
        "PKI_HOME", str(exc) if isinstance(exc, ValueError) else f"has a file secret_key that cannot be used: {exc.strerror}."
    ) from None
# The address that certificates name, kept by the first `manage.py up`: every process of this PKI_HOME must use the same one.
PKI_BASE_URL_FILE = PKI_HOME / "base_url"
if not os.environ.get("PKI_BASE_URL") and PKI_BASE_URL_FILE.exists():
    PKI_BASE_URL = PKI_BASE_URL_FILE.read_text(encoding="ascii").strip()
    if not PKI_BASE_URL:  # what a full disk left: certificates would name no address, permanently
        raise refused(
            "PKI_HOME", "has an empty file base_url. Write the address into it that certificates name, such as http://127.0.0.1:8000."
        )
# The address at which `manage.py up` serves now: what links in mails need, of commands too.
PKI_PORTAL_URL_FILE = PKI_HOME / "portal_url"
if not os.environ.get("PKI_PORTAL_URL"):
    # Empty for a moment while `up` writes it.
    PKI_PORTAL_URL = (PKI_PORTAL_URL_FILE.read_text(encoding="ascii").strip() if PKI_PORTAL_URL_FILE.exists() else "") or PKI_BASE_URL

# Made by `manage.py demo_data`, before anything else of it.
PKI_DEMO_DATA_FILE = PKI_HOME / "demo_data"
PKI_DEMO_DATA = PKI_DEMO_DATA_FILE.exists()

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": PKI_HOME / "portal.sqlite3",
        "OPTIONS": {
            "timeout": 20,
            # Every atomic block takes the write lock at its start, so none fails half-way with "database is locked".
            "transaction_mode": "IMMEDIATE",
            "init_command": ("PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA busy_timeout=20000;PRAGMA recursive_triggers=ON;"),
        },
    }
}

CELERY_BROKER_URL = "memory://"
CELERY_BROKER_TRANSPORT_OPTIONS |= {"polling_interval": 0.01}

EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = PKI_HOME / "mail"

KEY_BACKENDS = {
    "local": {"BACKEND": "keys.backends.local.LocalKeyBackend", "OPTIONS": {"kek_file": PKI_HOME / "keys.kek"}},
    # The root's key has its own key-encryption key, so that its file can be moved offline.
    "root": {"BACKEND": "keys.backends.local.LocalKeyBackend", "OPTIONS": {"kek_file": PKI_HOME / "root.kek"}},
}
PKI_ALLOW_LOCAL_KEYS = True
CA_CLIENTS = {PKI_DEFAULT_CA: {"CLIENT": "certs.ca.local.LocalCAClient", "OPTIONS": {}}}
PKI_CA_CREDENTIALS = env_folder("PKI_CA_CREDENTIALS", str(PKI_HOME / "ca-credentials"))
PKI_CA_NETWORKS = env_networks("PKI_CA_NETWORKS", "127.0.0.0/8,::1", trusted=False)  # everything is on this machine
STATIC_ROOT = PKI_HOME / "static"
PKI_CA_API_INLINE = True
