"""Settings of the benchmarks: production's parts (PostgreSQL, Redis, Vault), started privately; audit and policy on."""

from __future__ import annotations

import os

from pkiportal.settings.test import *  # noqa: F403 - Django's way of layering settings
from pkiportal.settings.test import CA_CLIENTS, DATABASES

DATABASES["default"]["NAME"] = os.environ.get("PKI_BENCH_DATABASE", "bench")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
PKI_CA_API_INLINE = True
PKI_CA_KEY_BACKEND = "local"
PKI_EMBEDDED = False
DATABASES["default"] |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}  # as in production
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
CA_CLIENTS["Bench-Vault-CA"] = {"CLIENT": "certs.ca.local.client.LocalCAClient", "OPTIONS": {}}
PKI_LEAF_KEY_BACKEND = os.environ.get("PKI_LEAF_KEY_BACKEND", "local")
