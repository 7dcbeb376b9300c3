"""The test settings, with mail sent to a real server whose port is in PKI_TEST_SMTP_PORT."""

from __future__ import annotations

from pkiportal.env import env_int
from pkiportal.settings.test import *  # noqa: F403 - Django's way of layering settings

EMAIL_BACKEND = "certs.notifications.delivery.smtp.PatientEmailBackend"
EMAIL_HOST = "127.0.0.1"
EMAIL_PORT = env_int("PKI_TEST_SMTP_PORT", 25)
PKI_EMBEDDED = False
